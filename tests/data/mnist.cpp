// SPDX-License-Identifier: Apache-2.0
#include <creditlib/data/mnist.hpp>

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using namespace creditlib::test;

// Three training images and one to test of 2 x 3 pixels: 0..5, 6..11, …
static void write_mnist(const std::filesystem::path& folder) {
  std::string pixels;
  for (int i = 0; i < 24; ++i) pixels += static_cast<char>(i);
  write_file(folder / "train-images-idx3-ubyte", idx_file(8, {3, 2, 3}, pixels.substr(0, 18)));
  write_file(folder / "train-labels-idx1-ubyte", idx_file(8, {3}, {"\0\x09\5", 3}));
  write_file(folder / "t10k-images-idx3-ubyte", idx_file(8, {1, 2, 3}, pixels.substr(18)));
  write_file(folder / "t10k-labels-idx1-ubyte", idx_file(8, {1}, "\3"));
}

TEST_CASE("MNIST's four files are read from their folder, or from MNIST/raw in it", "[data]") {
  const TemporaryFolder folder;
  write_mnist(folder / "MNIST" / "raw");

  for (const auto& place : {folder.path(), folder / "MNIST", folder / "MNIST" / "raw"}) {
    const auto [train, test, augment] = data::mnist(place);

    CHECK(torch::equal(train.images, torch::arange(18, torch::kUInt8).view({3, 1, 2, 3})));
    CHECK(torch::equal(train.labels, torch::tensor({0, 9, 5}, torch::kInt64)));
    CHECK(torch::equal(test.images, torch::arange(18, 24, torch::kUInt8).view({1, 1, 2, 3})));
    CHECK(torch::equal(test.labels, torch::tensor({3}, torch::kInt64)));
    CHECK_FALSE(augment);
    CHECK_NOTHROW(train.checked());
    CHECK_NOTHROW(test.checked());
  }
}

TEST_CASE("a file of MNIST that is missing or does not fit the others is named", "[data]") {
  const TemporaryFolder folder;
  write_mnist(folder.path());
  const auto refuses = [&](const std::string& name, const std::string& bytes,
                           std::initializer_list<std::string> parts) {
    const auto good = read_file(folder / name);
    write_file(folder / name, bytes);
    check_error([&] { data::mnist(folder.path()); }, {(folder / name).string()});
    check_error([&] { data::mnist(folder.path()); }, parts);
    write_file(folder / name, good);
  };

  refuses("train-labels-idx1-ubyte", idx_file(8, {2}, "\1\2"),
          {"holds (2) uint8 on cpu, expected (3) uint8", "one label per image"});
  refuses("train-labels-idx1-ubyte", idx_file(8, {3}, "\1\x0a\2"), {"label 10 of image 1", "0 to 9"});
  refuses("train-images-idx3-ubyte", idx_file(8, {18}, std::string(18, '\1')),
          {"holds (18) uint8 on cpu, expected (N, H, W) uint8"});
  refuses("t10k-images-idx3-ubyte", idx_file(8, {0, 2, 3}, ""), {"holds (0, 2, 3) uint8"});
  refuses("t10k-images-idx3-ubyte", idx_file(8, {1, 2, 3}, "12345"), {"holds 21 bytes, expected 22"});
  std::filesystem::remove(folder / "t10k-labels-idx1-ubyte");
  check_error([&] { data::mnist(folder.path()); },
              {(folder / "t10k-labels-idx1-ubyte").string(), "cannot be found", "download the four MNIST files"});
  check_error([&] { data::mnist(folder / "none"); }, {(folder / "none").string(), "no folder", "MNIST"});
}

#ifdef CREDITLIB_WITH_ZLIB
TEST_CASE("MNIST's files may be packed", "[data]") {
  const TemporaryFolder folder;
  write_mnist(folder.path());
  for (const auto* name : {"train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    std::filesystem::rename(folder / name, folder / (std::string(name) + ".gz"));  // the bytes decide, not the name
  }

  CHECK(data::mnist(folder.path()).train.size() == 3);
}
#endif

TEST_CASE("the real MNIST has 60,000 + 10,000 images and the mean and deviation that it is normalised by", "[data]") {
  if (!real_data() || !std::filesystem::exists(*real_data() / "MNIST")) {
    SUCCEED("skipped: CREDITLIB_TEST_DATA names no folder that has it");
    return;
  }

  const auto [train, test, augment] = data::mnist(*real_data());

  CHECK(train.images.sizes() == torch::IntArrayRef({60000, 1, 28, 28}));
  CHECK(test.images.sizes() == torch::IntArrayRef({10000, 1, 28, 28}));
  CHECK(torch::equal(train.labels.slice(0, 0, 5), torch::tensor({5, 0, 4, 1, 9}, torch::kInt64)));
  const auto pixels = train.images.to(torch::kFloat32) / 255;
  CHECK(pixels.mean().item<double>() == Approx(train.mean[0]).margin(5e-5));
  CHECK(pixels.std().item<double>() == Approx(train.deviation[0]).margin(5e-5));
}
