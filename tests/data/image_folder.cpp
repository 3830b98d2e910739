// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <creditlib/data/batches.hpp>
#include <creditlib/data/image_folder.hpp>
#include <functional>
#include <string>
#include <vector>

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using namespace creditlib::test;
using data::image_folder;

#ifndef CREDITLIB_WITH_IMAGES

TEST_CASE("without libpng and libjpeg a folder of images is answered with what to install", "[data]") {
  const TemporaryFolder folder;
  write_file(folder / "cat/1.png", "\x89PNG");
  check_error([&] { image_folder(folder.path()); }, {"libpng-dev", "libjpeg-dev", "configure again"});
}

#else

namespace {

using Names = std::vector<std::string>;

// Writes an image (C, H, W), uint8, of 1, 3 or 4 channels.
void write_png(const std::filesystem::path& path, const torch::Tensor& image) {
  std::filesystem::create_directories(path.parent_path());
  const auto pixels = image.permute({1, 2, 0}).contiguous();
  png_image png = {};
  png.version = PNG_IMAGE_VERSION;
  png.height = static_cast<unsigned>(image.size(1));
  png.width = static_cast<unsigned>(image.size(2));
  png.format = image.size(0) == 1 ? PNG_FORMAT_GRAY : image.size(0) == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_RGBA;
  if (image.scalar_type() == torch::kInt16) png.format = PNG_FORMAT_LINEAR_Y;
  REQUIRE(png_image_write_to_file(&png, path.c_str(), 0, pixels.data_ptr(), 0, nullptr));
}

// Writes an image (C, H, W), uint8, of 1, 3 or 4 (CMYK) channels with little loss.
void write_jpeg(const std::filesystem::path& path, const torch::Tensor& image) {
  std::filesystem::create_directories(path.parent_path());
  const auto pixels = image.permute({1, 2, 0}).contiguous();
  jpeg_compress_struct info = {};
  jpeg_error_mgr errors = {};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  std::FILE* file = std::fopen(path.c_str(), "wb");
  REQUIRE(file);
  jpeg_stdio_dest(&info, file);
  info.image_height = static_cast<unsigned>(image.size(1));
  info.image_width = static_cast<unsigned>(image.size(2));
  info.input_components = static_cast<int>(image.size(0));
  info.in_color_space = image.size(0) == 1 ? JCS_GRAYSCALE : image.size(0) == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 100, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    JSAMPROW row =
        static_cast<unsigned char*>(pixels.data_ptr()) + info.next_scanline * info.image_width * info.input_components;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::fclose(file);
}

torch::Tensor plain_image(const std::vector<int>& color, std::int64_t height, std::int64_t width) {
  return torch::tensor(color, torch::kInt32).to(torch::kUInt8).view({-1, 1, 1}).expand({-1, height, width});
}

torch::Tensor counted_image(std::int64_t first, std::int64_t height, std::int64_t width) {
  return torch::arange(first, first + 3 * height * width).remainder(256).to(torch::kUInt8).view({3, height, width});
}

std::int64_t largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a.to(torch::kInt64) - b.to(torch::kInt64)).abs().max().item<std::int64_t>();
}

}  // namespace

TEST_CASE("a folder of images is a class per folder, sorted, and the pixels of its files", "[data]") {
  const TemporaryFolder folder;
  write_png(folder / "set/dog/b.png", counted_image(7, 2, 4));
  write_png(folder / "set/dog/a.PNG", counted_image(90, 2, 4));
  write_png(folder / "set/cat/more/1.png", counted_image(33, 2, 4));
  write_jpeg(folder / "set/eel/photo.jpeg", plain_image({200, 40, 90}, 2, 4));
  write_file(folder / "set/dog/.DS_Store", "x");
  write_file(folder / "set/README.md", "x");

  const auto [dataset, classes] = image_folder(folder / "set");

  CHECK(classes == Names{"cat", "dog", "eel"});
  CHECK(dataset.name == "set");
  CHECK(dataset.classes == 3);
  CHECK(torch::equal(dataset.labels, torch::tensor({0, 1, 1, 2}, torch::kInt64)));
  REQUIRE(dataset.images.sizes() == torch::IntArrayRef({4, 3, 2, 4}));
  CHECK(torch::equal(dataset.images[0], counted_image(33, 2, 4)));
  CHECK(torch::equal(dataset.images[1], counted_image(90, 2, 4)));
  CHECK(torch::equal(dataset.images[2], counted_image(7, 2, 4)));
  CHECK(largest_difference(dataset.images[3], plain_image({200, 40, 90}, 2, 4)) <= 2);

  const auto pixels = dataset.images.to(torch::kFloat64) / 255;
  for (const int c : {0, 1, 2}) {
    const auto channel = pixels.select(1, c);
    CHECK(dataset.mean[static_cast<std::size_t>(c)] == Approx(channel.mean().item<double>()));
    CHECK(dataset.deviation[static_cast<std::size_t>(c)] == Approx(channel.std(false).item<double>()));
  }
  data::Batches batches(dataset, {.batch_size = 4, .shuffle = false});
  CHECK((*batches.begin()).input.mean().item<double>() == Approx(0).margin(1e-6));
}

TEST_CASE("gray images and images in color are read as either, transparent pixels as black", "[data]") {
  const TemporaryFolder folder;
  write_png(folder / "a/1.png", plain_image({100}, 2, 2));
  write_png(folder / "a/2.png", plain_image({200, 40, 90}, 2, 2));
  write_png(folder / "a/3.png", plain_image({200, 40, 90, 0}, 2, 2));
  write_jpeg(folder / "a/4.jpg", plain_image({77}, 2, 2));
  write_png(folder / "a/5.png", plain_image({200, 40, 90, 128}, 2, 2));
  const auto luma = static_cast<int>(std::lround(.299 * 200 + .587 * 40 + .114 * 90));

  const auto rgb = image_folder(folder.path()).dataset.images;
  const auto gray = image_folder(folder.path(), {.channels = 1}).dataset.images;

  CHECK(torch::equal(rgb[0], plain_image({100, 100, 100}, 2, 2)));
  CHECK(torch::equal(rgb[1], plain_image({200, 40, 90}, 2, 2)));
  CHECK(torch::equal(rgb[2], plain_image({0, 0, 0}, 2, 2)));
  CHECK(largest_difference(rgb[3], plain_image({77, 77, 77}, 2, 2)) <= 1);
  CHECK(largest_difference(rgb[4], plain_image({146, 28, 66}, 2, 2)) <= 1);  // half of the light
  CHECK(torch::equal(gray[0], plain_image({100}, 2, 2)));
  CHECK(torch::equal(gray[1], plain_image({luma}, 2, 2)));
}

TEST_CASE("images of different sizes are refused, or resized", "[data]") {
  const TemporaryFolder folder;
  write_png(folder / "a/1.png", plain_image({10, 20, 30}, 2, 2));
  const auto left_half = torch::cat({plain_image({0, 0, 0}, 4, 4), plain_image({240, 240, 240}, 4, 4)}, 2);
  write_png(folder / "a/2.png", left_half);

  check_error([&] { image_folder(folder.path()); },
              {"2.png", "4 x 8 pixels", "1.png", "2 x 2", "ImageFolderOptions::size"});
  const auto images = image_folder(folder.path(), {.size = {2, 4}}).dataset.images;
  CHECK(torch::equal(images[0], plain_image({10, 20, 30}, 2, 4)));
  // Antialiased, each pixel is a mean with weights 1, 3, 3, 1 of four columns: 30 = 240 / 8 and so on.
  CHECK(torch::equal(images[1][0][0], torch::tensor({0, 30, 210, 240}, torch::kUInt8)));
}

TEST_CASE("a test set keeps the classes and constants of its training set", "[data]") {
  const TemporaryFolder folder;
  write_png(folder / "b/1.png", counted_image(0, 2, 2));

  const auto [dataset, classes] =
      image_folder(folder.path(), {.classes = {"a", "b"}, .mean = {.1, .2, .3}, .deviation = {1, 2, 3}});

  CHECK(classes == Names{"a", "b"});
  CHECK(dataset.classes == 2);
  CHECK(dataset.labels.item<int>() == 1);
  CHECK(dataset.mean == std::vector<double>{.1, .2, .3});
  CHECK(dataset.deviation == std::vector<double>{1, 2, 3});
  check_error([&] { image_folder(folder.path(), {.classes = {"a", "c"}}); }, {(folder / "b").string(), "2 classes"});
  check_error([&] { image_folder(folder.path(), {.mean = {.1}}); }, {"mean has 1 values and deviation 0", "3"});
  check_error([&] { image_folder(folder.path(), {.channels = 4}); }, {"channels is 4, expected 1 or 3"});
  check_error([&] { image_folder(folder.path(), {.size = {4}}); }, {"size is (4), expected {H, W}"});
}

TEST_CASE("a damaged image is named, wherever it ends", "[data]") {
  const TemporaryFolder folder;
  const auto image = torch::randint(256, {3, 16, 16}, torch::kUInt8);
  const auto path = folder / "a/1.png";
  for (const auto& write : {&write_png, &write_jpeg}) {
    write(path, image);
    const auto good = read_file(path);
    REQUIRE_NOTHROW(image_folder(folder.path()));
    for (std::size_t length = 0; length + 20 < good.size(); length += 7) {
      write_file(path, good.substr(0, length));
      check_error([&] { image_folder(folder.path()); }, {"image_folder: ", path.string()});
    }
  }
  write_file(path, "GIF89a and so on");
  check_error([&] { image_folder(folder.path()); }, {path.string(), "neither PNG nor JPEG"});
  write_png(path, torch::zeros({1, 2, 2}, torch::kInt16));
  check_error([&] { image_folder(folder.path()); }, {path.string(), "16 bits per channel, expected 8"});
  write_jpeg(path, plain_image({1, 2, 3, 4}, 2, 2));
  check_error([&] { image_folder(folder.path()); }, {path.string(), "not in gray or RGB"});
}

TEST_CASE("folders without what is expected are refused", "[data]") {
  const TemporaryFolder folder;
  check_error([&] { image_folder(folder / "none"); }, {"no folder", (folder / "none").string()});
  check_error([&] { image_folder(folder.path()); }, {"has no folders", "one folder of images per class"});
  write_png(folder / "a/1.png", counted_image(0, 2, 2));
  std::filesystem::create_directories(folder / "b");
  check_error([&] { image_folder(folder.path()); }, {(folder / "b").string(), "holds no images"});
  write_file(folder / "b/1.webp", "x");
  check_error([&] { image_folder(folder.path()); }, {(folder / "b/1.webp").string(), "not named .png, .jpg or .jpeg"});
  std::filesystem::remove_all(folder / "b");
  write_png(folder / "1.png", counted_image(0, 2, 2));
  check_error([&] { image_folder(folder.path()); }, {(folder / "1.png").string(), "is in no class"});
}

#endif
