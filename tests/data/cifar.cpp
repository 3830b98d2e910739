// SPDX-License-Identifier: Apache-2.0
#include <creditlib/data/cifar.hpp>

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using namespace creditlib::test;

static const data::CifarOptions own_files{.any_size = true};

// A file of that many bytes, all 0; it takes no room on the disk.
static void write_zeros(const std::filesystem::path& file, std::int64_t bytes) {
  write_file(file, "");
  std::filesystem::resize_file(file, static_cast<std::uintmax_t>(bytes));
}

// Five training files with the labels 0 1, 2 3, …, 8 9, and a test file with 7; images are numbered through.
static void write_cifar10(const std::filesystem::path& folder) {
  for (int i = 0; i < 5; ++i) {
    const auto name = "data_batch_" + std::to_string(i + 1) + ".bin";
    write_file(folder / name, cifar_file({{2 * i}, {2 * i + 1}}, 2 * i));
  }
  write_file(folder / "test_batch.bin", cifar_file({{7}}, 10));
}

static bool has_pixels(const torch::Tensor& image, std::int64_t number) {
  const auto* pixels = image.contiguous().data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < 3072; ++i) {
    if (pixels[i] != pixel(number, i)) return false;
  }
  return true;
}

TEST_CASE("CIFAR-10 is read image by image, channel by channel, from its folder or the one above", "[data]") {
  const TemporaryFolder folder;
  write_cifar10(folder / "cifar-10-batches-bin");

  for (const auto& place : {folder.path(), folder / "cifar-10-batches-bin"}) {
    const auto [train, test, augment] = data::cifar10(place, own_files);

    CHECK(train.images.sizes() == torch::IntArrayRef({10, 3, 32, 32}));
    CHECK(torch::equal(train.labels, torch::arange(10)));
    for (std::int64_t i = 0; i < 10; ++i) CHECK(has_pixels(train.images[i], i));
    CHECK(train.images[3][2][5][9].item<std::uint8_t>() == pixel(3, 2 * 1024 + 5 * 32 + 9));
    CHECK(test.size() == 1);
    CHECK(test.labels[0].item<int>() == 7);
    CHECK(has_pixels(test.images[0], 10));
    CHECK(augment);
    CHECK(train.classes == 10);
    CHECK_NOTHROW(train.checked());
    CHECK_NOTHROW(test.checked());
  }
}

TEST_CASE("CIFAR-100 is read with its fine labels", "[data]") {
  const TemporaryFolder folder;
  write_file(folder / "cifar-100-binary" / "train.bin", cifar_file({{11, 99}, {19, 0}}, 0));
  write_file(folder / "cifar-100-binary" / "test.bin", cifar_file({{3, 42}}, 2));

  for (const auto& place : {folder.path(), folder / "cifar-100-binary"}) {
    const auto [train, test, augment] = data::cifar100(place, own_files);

    CHECK(torch::equal(train.labels, torch::tensor({99, 0}, torch::kInt64)));
    CHECK(torch::equal(test.labels, torch::tensor({42}, torch::kInt64)));
    for (std::int64_t i = 0; i < 2; ++i) CHECK(has_pixels(train.images[i], i));
    CHECK(has_pixels(test.images[0], 2));
    CHECK(augment);
    CHECK(train.classes == 100);
    CHECK_NOTHROW(train.checked());
  }
}

TEST_CASE("a CIFAR file that is missing is named, with where to get it", "[data]") {
  const TemporaryFolder folder;
  write_cifar10(folder / "five");
  std::filesystem::remove(folder / "five" / "data_batch_3.bin");

  check_error([&] { data::cifar10(folder / "five", own_files); },
              {"cifar10: ", (folder / "five" / "data_batch_3.bin").string(), "download the CIFAR-10 binary version"});
  check_error([&] { data::cifar10(folder / "none"); }, {"no folder", (folder / "none").string(), "CIFAR-10 binary"});
  check_error([&] { data::cifar100(folder / "five"); },
              {"cifar100: ", (folder / "five").string(), "cifar-100-binary", "train.bin", "CIFAR-100 binary version"});
}

TEST_CASE("a CIFAR file that is truncated is named, with its bytes and those expected", "[data]") {
  const TemporaryFolder folder;
  write_cifar10(folder.path());
  write_file(folder / "data_batch_2.bin", cifar_file({{2}, {3}}).substr(1));
  const auto refuses = [&](const char* bytes) {
    check_error([&] { data::cifar10(folder.path(), own_files); },
                {(folder / "data_batch_2.bin").string(), bytes, "3073", "30730000", "truncated"});
  };

  refuses("is 6145 bytes");
  write_file(folder / "data_batch_2.bin", "");
  refuses("is 0 bytes");
}

TEST_CASE("a CIFAR file that ends between two records is no smaller set", "[data]") {
  const TemporaryFolder folder;
  for (int i = 1; i <= 5; ++i) write_zeros(folder / ("data_batch_" + std::to_string(i) + ".bin"), 10'000 * 3073);
  write_zeros(folder / "test_batch.bin", 10'000 * 3073);
  write_zeros(folder / "train.bin", 49'999 * 3074);
  write_zeros(folder / "test.bin", 10'000 * 3074);
  const auto whole = data::cifar10(folder.path());
  const auto refuses = [&](const char* name, std::int64_t bytes, const char* why) {
    write_zeros(folder / name, bytes);
    check_error(
        [&] { data::cifar10(folder.path()); },
        {(folder / name).string(), "is " + std::to_string(bytes) + " bytes", "expected 30730000", why, "any_size"});
    write_zeros(folder / name, 10'000 * 3073);
  };

  CHECK(whole.train.size() == 50'000);
  CHECK(whole.test.size() == 10'000);
  refuses("data_batch_5.bin", 9'999 * 3073, "truncated");
  refuses("data_batch_1.bin", 3073, "truncated");
  refuses("data_batch_3.bin", 10'001 * 3073, "not the published file");
  refuses("test_batch.bin", 5'000 * 3073, "truncated");
  check_error(
      [&] { data::cifar100(folder.path()); },
      {(folder / "train.bin").string(), "is 153696926 bytes (49999 records)", "expected 153700000", "truncated"});
}

TEST_CASE("a CIFAR label out of range is given with file, index and value", "[data]") {
  const TemporaryFolder folder;
  write_cifar10(folder.path());
  write_file(folder / "data_batch_4.bin", cifar_file({{9}, {10}}));
  write_file(folder / "train.bin", cifar_file({{1, 99}, {200, 3}, {3, 100}}));
  write_file(folder / "test.bin", cifar_file({{1, 1}}));

  check_error([&] { data::cifar10(folder.path(), own_files); },
              {(folder / "data_batch_4.bin").string(), "label 10 of image 1", "0 to 9"});
  check_error([&] { data::cifar100(folder.path(), own_files); },
              {(folder / "train.bin").string(), "label 100 of image 2", "0 to 99"});
}

TEST_CASE("the real CIFAR-10 has 5,000 + 1,000 images a class and the mean and deviation that it is normalised by",
          "[data]") {
  if (!real_data() || !std::filesystem::exists(*real_data() / "cifar-10-batches-bin")) {
    SUCCEED("skipped: CREDITLIB_TEST_DATA names no folder that has it");
    return;
  }

  const auto [train, test, augment] = data::cifar10(*real_data());

  CHECK(torch::equal(torch::bincount(train.labels), torch::full({10}, 5000, torch::kInt64)));
  CHECK(torch::equal(torch::bincount(test.labels), torch::full({10}, 1000, torch::kInt64)));
  for (std::int64_t c = 0; c < 3; ++c) {
    const auto channel = train.images.select(1, c).to(torch::kFloat32) / 255;
    CHECK(channel.mean().item<double>() == Approx(train.mean[static_cast<std::size_t>(c)]).margin(0.005));
    CHECK(channel.std().item<double>() == Approx(train.deviation[static_cast<std::size_t>(c)]).margin(0.005));
  }
}
