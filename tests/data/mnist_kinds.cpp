// SPDX-License-Identifier: Apache-2.0
// Data sets in MNIST's format, under the names that their files usually have.
#include <cmath>
#include <creditlib/data/load.hpp>
#include <string>

#ifdef CREDITLIB_WITH_ZLIB
#include <zlib.h>
#endif

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

std::string counted_bytes(int first, int end) {
  std::string bytes;
  for (int i = first; i < end; ++i) bytes += static_cast<char>(i);
  return bytes;
}

// Three images to train and one to test with, of 2 x 3 pixels, 0..23; `name` makes a file's name of part, kind and
// type.
template <class Name>
void write_mnist_kind(const std::filesystem::path& folder, const std::string& train, const std::string& test,
                      const std::string& labels, Name&& name) {
  write_file(folder / name(train, "images", "idx3-ubyte"), idx_file(8, {3, 2, 3}, counted_bytes(0, 18)));
  write_file(folder / name(train, "labels", "idx1-ubyte"), idx_file(8, {3}, labels.substr(0, 3)));
  write_file(folder / name(test, "images", "idx3-ubyte"), idx_file(8, {1, 2, 3}, counted_bytes(18, 24)));
  write_file(folder / name(test, "labels", "idx1-ubyte"), idx_file(8, {1}, labels.substr(3)));
}

std::string with_hyphen(const std::string& part, const std::string& kind, const std::string& type) {
  return part + "-" + kind + "-" + type;
}

std::string with_dot(const std::string& part, const std::string& kind, const std::string& type) {
  return part + "-" + kind + "." + type;
}

}  // namespace

TEST_CASE("data sets in MNIST's format are found in torchvision's folders, with a hyphen or a dot in the names",
          "[data]") {
  struct Case {
    std::string name, folder;
  };
  for (const auto& [name, place] :
       {Case{"mnist", "MNIST/raw"}, Case{"fashion_mnist", "FashionMNIST/raw"}, Case{"kmnist", "KMNIST/raw"}}) {
    for (const bool dot : {false, true}) {
      INFO(name << ", dot " << dot);
      const TemporaryFolder folder;
      write_mnist_kind(folder / place, "train", "t10k", "\1\2\x09\3", dot ? with_dot : with_hyphen);

      for (const auto& given : {folder.path(), folder / place}) {
        const auto [train, test, augment] = data::load(name, given);

        CHECK(train.name == name);
        CHECK(torch::equal(train.images, torch::arange(18, torch::kUInt8).view({3, 1, 2, 3})));
        CHECK(torch::equal(train.labels, torch::tensor({1, 2, 9}, torch::kInt64)));
        CHECK(torch::equal(test.images, torch::arange(18, 24, torch::kUInt8).view({1, 1, 2, 3})));
        CHECK(torch::equal(test.labels, torch::tensor({3}, torch::kInt64)));
        CHECK_NOTHROW(train.checked());
        CHECK_NOTHROW(test.checked());
      }
    }
  }
}

TEST_CASE("mean and deviation that are not published are those of the training images", "[data]") {
  const TemporaryFolder folder;
  write_mnist_kind(folder.path(), "train", "t10k", "\1\2\x09\3", with_dot);

  const auto splits = data::fashion_mnist(folder.path());

  // 0..17: mean 8.5, variance (18^2 - 1) / 12.
  REQUIRE(splits.train.mean.size() == 1);
  CHECK(splits.train.mean[0] == Approx(8.5 / 255));
  CHECK(splits.train.deviation[0] == Approx(std::sqrt(323. / 12) / 255));
  CHECK(splits.test.mean == splits.train.mean);
  CHECK(splits.test.deviation == splits.train.deviation);
  CHECK(data::mnist(folder.path()).train.mean == std::vector<double>{0.1307});
}

TEST_CASE("images of one value have the deviation 1", "[data]") {
  const TemporaryFolder folder;
  write_mnist_kind(folder.path(), "train", "t10k", "\1\2\x09\3", with_dot);
  write_file(folder / "train-images.idx3-ubyte", idx_file(8, {3, 2, 3}, std::string(18, '\x33')));

  const auto train = data::kmnist(folder.path()).train;

  CHECK(train.mean[0] == Approx(0.2));
  CHECK(train.deviation == std::vector<double>{1});
}

TEST_CASE("EMNIST's images stand upright and its letters begin at 0", "[data]") {
  const TemporaryFolder folder;
  write_mnist_kind(folder / "gzip", "emnist-letters-train", "emnist-letters-test", "\1\x1a\2\3", with_hyphen);
  write_mnist_kind(folder / "gzip", "emnist-balanced-train", "emnist-balanced-test", std::string("\0\x2e\2\3", 4),
                   with_hyphen);

  const auto letters = data::load("emnist_letters", folder.path());
  const auto balanced = data::load("emnist_balanced", folder / "gzip");

  CHECK(letters.train.name == "emnist_letters");
  CHECK(letters.train.classes == 26);
  CHECK(torch::equal(letters.train.labels, torch::tensor({0, 25, 1}, torch::kInt64)));
  CHECK(torch::equal(letters.test.labels, torch::tensor({2}, torch::kInt64)));
  CHECK(letters.train.images.sizes() == torch::IntArrayRef({3, 1, 3, 2}));
  CHECK(torch::equal(letters.train.images[0][0], torch::tensor({{0, 3}, {1, 4}, {2, 5}}, torch::kUInt8)));
  CHECK(letters.train.images.is_contiguous());
  CHECK_NOTHROW(letters.train.checked());
  CHECK(balanced.train.classes == 47);
  CHECK(torch::equal(balanced.train.labels, torch::tensor({0, 46, 2}, torch::kInt64)));
  for (const auto& [split, classes] : std::vector<std::pair<std::string, std::int64_t>>{
           {"byclass", 62}, {"bymerge", 47}, {"digits", 10}, {"mnist", 10}}) {
    write_mnist_kind(folder.path(), "emnist-" + split + "-train", "emnist-" + split + "-test", "\1\2\3\4", with_dot);
    CHECK(data::emnist(folder.path(), split).test.classes == classes);
    CHECK(data::emnist(folder.path(), split).test.labels.item<int>() == 4);
  }
}

TEST_CASE("a split that EMNIST does not have is answered with those there are", "[data]") {
  check_error([] { data::emnist(".", "capitals"); },
              {"no split \"capitals\"", "use byclass, bymerge, balanced, letters, digits or mnist."});
}

TEST_CASE("a label that EMNIST's letters do not have is named", "[data]") {
  const TemporaryFolder folder;
  const auto refuses = [&](const std::string& labels, std::initializer_list<std::string> parts) {
    write_mnist_kind(folder.path(), "emnist-letters-train", "emnist-letters-test", labels, with_hyphen);
    check_error([&] { data::emnist(folder.path(), "letters"); }, parts);
  };

  refuses(std::string("\1\0\2\3", 4), {"emnist-letters-train-labels-idx1-ubyte", "(less 1): label -1 of image 1"});
  refuses("\1\x1b\2\3", {"(less 1): label 26 of image 1", "0 to 25"});
}

TEST_CASE("QMNIST's class is the first column of its labels file", "[data]") {
  const TemporaryFolder folder;
  const auto place = folder / "QMNIST/raw";
  write_mnist_kind(place, "qmnist-train", "qmnist-test", "\1\1\1\1", with_hyphen);
  const auto labels = [](const std::string& classes) {
    std::string elements;
    for (const char label : classes) {
      for (const char column : {label, '\x11', '\x22'}) elements += std::string("\0\0\0", 3) + column;
    }
    return idx_file(0x0C, {static_cast<std::uint32_t>(classes.size()), 3}, elements);
  };
  write_file(place / "qmnist-train-labels-idx2-int", labels("\x09\1\2"));
  write_file(place / "qmnist-test-labels-idx2-int", labels("\7"));

  for (const auto& given : {folder.path(), folder / "QMNIST", place}) {
    const auto splits = data::load("qmnist", given);
    CHECK(torch::equal(splits.train.labels, torch::tensor({9, 1, 2}, torch::kInt64)));
    CHECK(torch::equal(splits.test.labels, torch::tensor({7}, torch::kInt64)));
    CHECK(torch::equal(splits.train.images, torch::arange(18, torch::kUInt8).view({3, 1, 2, 3})));
  }
  write_file(place / "qmnist-test-labels-idx2-int", idx_file(8, {1}, "\7"));
  check_error([&] { data::qmnist(place); }, {"qmnist-test-labels-idx2-int", "(1) uint8", "(1, columns) int32"});
  std::filesystem::remove(place / "qmnist-train-labels-idx2-int");
  check_error([&] { data::qmnist(place); }, {(place / "qmnist-train-labels-idx2-int").string(), "cannot be found"});
}

#ifdef CREDITLIB_WITH_ZLIB
TEST_CASE("files of either name may be gzip", "[data]") {
  for (const bool dot : {false, true}) {
    const TemporaryFolder folder;
    const auto packed = [&](const std::string& part, const std::string& kind, const std::string& type) {
      return (dot ? with_dot : with_hyphen)(part, kind, type) + ".gz";
    };
    write_mnist_kind(folder.path(), "emnist-digits-train", "emnist-digits-test", "\1\2\3\4", packed);
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      const auto bytes = read_file(entry.path());
      const auto file = gzopen(entry.path().c_str(), "wb");
      REQUIRE(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())) == static_cast<int>(bytes.size()));
      REQUIRE(gzclose(file) == Z_OK);
    }

    CHECK(torch::equal(data::emnist(folder.path(), "digits").train.labels, torch::tensor({1, 2, 3}, torch::kInt64)));
  }
}
#endif
