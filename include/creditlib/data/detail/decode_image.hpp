// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/error.hpp>
#include <creditlib/io/input_file.hpp>
#include <cstdint>
#include <filesystem>
#include <string>

#ifdef CREDITLIB_WITH_IMAGES
#include <png.h>

#include <creditlib/data/detail/decode_jpeg.hpp>
#include <memory>
#endif

namespace creditlib::detail {

#ifdef CREDITLIB_WITH_IMAGES

/// Memory for pixels (H, W, 3). A damaged file may claim any size, so one that no photograph has is refused.
inline torch::Tensor room_for_pixels(const io::InputFile& file, std::int64_t height, std::int64_t width) {
  if (height < 1 || width < 1 || height > (std::int64_t{1} << 28) / width) {
    file.fail("is an image of ", height, " x ", width, " pixels, expected 1 to 2^28 of them");
  }
  return torch::empty({height, width, 3}, torch::kUInt8);
}

inline torch::Tensor decoded_png(const io::InputFile& file, const std::string& bytes) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  const std::unique_ptr<png_image, void (*)(png_image*)> freed(&image, &png_image_free);
  if (!png_image_begin_read_from_memory(&image, bytes.data(), bytes.size())) {
    file.fail("is a damaged PNG file (", image.message, ")");
  }
  if ((image.format & PNG_FORMAT_FLAG_LINEAR) != 0) {
    file.fail("has 16 bits per channel, expected 8: convert it, or train on data::Tensors of your own reader's images");
  }
  image.format = PNG_FORMAT_RGB;
  auto pixels = room_for_pixels(file, image.height, image.width);
  const png_color black = {0, 0, 0};
  if (!png_image_finish_read(&image, &black, pixels.data_ptr(), 0, nullptr)) {
    file.fail("is a damaged PNG file (", image.message, ")");
  }
  return pixels;
}

inline torch::Tensor decoded_jpeg(const io::InputFile& file, const std::string& bytes) {
  JpegDecoder decoder(bytes);
  if (!decoder.begin()) file.fail("is a damaged JPEG file (", decoder.message(), ")");
  auto pixels = room_for_pixels(file, decoder.height(), decoder.width());
  if (!decoder.finish(static_cast<unsigned char*>(pixels.data_ptr()))) {
    file.fail("is a damaged JPEG file, or not in gray or RGB (", decoder.message(), ")");
  }
  return pixels;
}

#endif

/// The pixels (3, H, W), uint8, RGB, of the PNG or JPEG file at `path`, which its first bytes tell apart.
///
/// Throws Error, naming the file, if it is missing, damaged, neither of them or of 16 bits per channel, or if this build
/// has no libpng and libjpeg.
inline torch::Tensor decoded_image(const std::string& reader, const std::filesystem::path& path) {
#ifdef CREDITLIB_WITH_IMAGES
  io::InputFile file(reader, path);
  const auto bytes = file.read_text(file.size());
  if (bytes.starts_with("\x89PNG")) return decoded_png(file, bytes).permute({2, 0, 1});
  if (bytes.starts_with("\xff\xd8\xff")) return decoded_jpeg(file, bytes).permute({2, 0, 1});
  file.fail("is neither PNG nor JPEG, by its first bytes");
#else
  fail(reader, ": ", path,
       " cannot be read, since this build has no libpng and libjpeg: install both (Debian packages ",
       "libpng-dev and libjpeg-dev) and configure again.");
#endif
}

/// (3, H, W) uint8 as (1, H, W): luma by ITU-R BT.601, as Pillow rounds it, which leaves gray as it is.
inline torch::Tensor gray_image(const torch::Tensor& rgb) {
  const auto wide = rgb.to(torch::kInt32);
  return (wide[0] * 19595 + wide[1] * 38470 + wide[2] * 7471 + 32768)
      .bitwise_right_shift(16)
      .to(torch::kUInt8)
      .unsqueeze(0);
}

/// An image (C, H, W), uint8, in another size: bilinear, and smoothed where it shrinks.
inline torch::Tensor resized_image(const torch::Tensor& image, std::int64_t height, std::int64_t width) {
  if (image.size(1) == height && image.size(2) == width) return image;
  const auto input = image.to(torch::kFloat32).contiguous().unsqueeze(0);
  return at::_upsample_bilinear2d_aa(input, {height, width}, /*align_corners=*/false)
      .round()
      .clamp(0, 255)
      .to(torch::kUInt8)
      .squeeze(0);
}

}  // namespace creditlib::detail
