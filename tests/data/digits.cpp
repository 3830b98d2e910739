// SPDX-License-Identifier: Apache-2.0
#include <creditlib/data/digits.hpp>

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using namespace creditlib::test;

static const auto root = std::filesystem::path(CREDITLIB_TESTS_DIR).parent_path();

TEST_CASE("the digits come with the library: 1,437 + 360 images, pixels 0..16", "[data]") {
  for (const auto& folder : {root, root / "data", root / "data" / "digits"}) {
    const auto [train, test, augment] = data::digits(folder);

    CHECK(train.images.sizes() == torch::IntArrayRef({1437, 1, 8, 8}));
    CHECK(test.images.sizes() == torch::IntArrayRef({360, 1, 8, 8}));
    CHECK(train.images.max().item<int>() == 16);
    CHECK_FALSE(augment);
    CHECK_NOTHROW(train.checked());
    CHECK_NOTHROW(test.checked());
  }
}

TEST_CASE("the digits look as they do in scikit-learn, first and last", "[data]") {
  const auto [train, test, augment] = data::digits(root);

  CHECK(torch::equal(train.images[0][0][1], torch::tensor({0, 0, 13, 15, 10, 15, 5, 0}, torch::kUInt8)));
  CHECK(torch::equal(train.labels.slice(0, 0, 12), torch::tensor({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1}, torch::kInt64)));
  CHECK(torch::equal(test.images[359][0][0], torch::tensor({0, 0, 10, 14, 8, 1, 0, 0}, torch::kUInt8)));
  CHECK(torch::equal(test.labels.slice(0, 355), torch::tensor({9, 0, 8, 9, 8}, torch::kInt64)));
}

TEST_CASE("the digits' mean and deviation are those of their training set", "[data]") {
  const auto train = data::digits(root).train;

  const auto pixels = train.images.to(torch::kFloat64) / 16;

  CHECK(pixels.mean().item<double>() == Approx(train.mean[0]).margin(5e-5));
  CHECK(pixels.std(false).item<double>() == Approx(train.deviation[0]).margin(5e-5));
}

TEST_CASE("files with brighter pixels are not the digits", "[data]") {
  const TemporaryFolder folder;
  write_file(folder / "train-images-idx3-ubyte", idx_file(8, {1, 1, 2}, "\x10\x11"));
  write_file(folder / "train-labels-idx1-ubyte", idx_file(8, {1}, "\1"));

  check_error([&] { data::digits(folder.path()); },
              {"digits: ", (folder / "train-images-idx3-ubyte").string(), "a pixel of 17, expected 0 to 16"});
}
