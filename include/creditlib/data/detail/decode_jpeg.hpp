// SPDX-License-Identifier: Apache-2.0
#pragma once

// clang-format off: jpeglib.h needs <cstdio> before it.
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <jpeglib.h>
// clang-format on

#include <array>
#include <string>

namespace creditlib::detail {

/// Decodes one JPEG file in memory with libjpeg. libjpeg reports an error by a jump out of its own call, so each call
/// stands in a function whose frame holds nothing else; a warning, such as data that ends early, counts as an error.
class JpegDecoder {
 public:
  explicit JpegDecoder(const std::string& bytes) {
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = [](j_common_ptr info) {
      auto& self = *static_cast<JpegDecoder*>(info->client_data);
      info->err->format_message(info, self.message_.data());
      std::longjmp(self.back_, 1);
    };
    errors_.emit_message = [](j_common_ptr info, int level) {
      if (level < 0) info->err->error_exit(info);
    };
    info_.client_data = this;
    data_ = reinterpret_cast<const unsigned char*>(bytes.data());
    size_ = bytes.size();
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&info_); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  /// Reads the sizes. False if it fails, see message().
  bool begin() {
    if (setjmp(back_) != 0) return false;
    jpeg_create_decompress(&info_);
    info_.client_data = this;
    jpeg_mem_src(&info_, data_, size_);
    jpeg_read_header(&info_, TRUE);
    info_.out_color_space = JCS_RGB;
    jpeg_calc_output_dimensions(&info_);
    return true;
  }

  std::int64_t height() const { return info_.output_height; }
  std::int64_t width() const { return info_.output_width; }

  /// Writes the pixels (H, W, 3). False if it fails, see message().
  bool finish(unsigned char* pixels) {
    next_ = pixels;
    if (setjmp(back_) != 0) return false;
    jpeg_start_decompress(&info_);
    while (info_.output_scanline < info_.output_height) {
      jpeg_read_scanlines(&info_, &next_, 1);
      next_ += std::size_t{3} * info_.output_width;
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  std::string message() const { return message_.data(); }

 private:
  jpeg_decompress_struct info_ = {};
  jpeg_error_mgr errors_ = {};
  std::jmp_buf back_ = {};
  std::array<char, JMSG_LENGTH_MAX> message_ = {};
  const unsigned char* data_ = nullptr;
  unsigned long size_ = 0;
  JSAMPROW next_ = nullptr;
};

}  // namespace creditlib::detail
