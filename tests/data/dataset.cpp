// SPDX-License-Identifier: Apache-2.0
#include <creditlib/data/dataset.hpp>

#include "../io/files.hpp"

using creditlib::data::Dataset;
using creditlib::test::check_error;

static Dataset five_images() {
  return {.name = "five",
          .images = torch::arange(60, torch::kUInt8).view({5, 2, 2, 3}),
          .labels = torch::tensor({0, 1, 2, 1, 0}, torch::kInt64),
          .classes = 3,
          .mean = {0, 0},
          .deviation = {1, 1}};
}

TEST_CASE("the first images of a data set keep their labels and all that is said of it", "[data]") {
  const auto whole = five_images(), part = whole.first(3);

  CHECK(part.size() == 3);
  CHECK(torch::equal(part.images, whole.images.slice(0, 0, 3)));
  CHECK(torch::equal(part.labels, torch::tensor({0, 1, 2}, torch::kInt64)));
  CHECK(part.name == "five");
  CHECK(part.classes == 3);
  CHECK(whole.size() == 5);
  CHECK(whole.first(5).size() == 5);
}

TEST_CASE("more images than there are, or none, cannot be asked for", "[data]") {
  check_error([] { five_images().first(6); }, {"five", "first 6", "1 to 5"});
  check_error([] { five_images().first(0); }, {"five", "first 0", "1 to 5"});
}

TEST_CASE("a data set moves to a device whole", "[data]") {
  const auto moved = five_images().to(torch::kMeta);

  CHECK(moved.images.is_meta());
  CHECK(moved.labels.is_meta());
  CHECK(moved.classes == 3);
}

TEST_CASE("a label out of range is given with its index and value", "[data]") {
  auto high = five_images(), low = five_images();
  high.labels = torch::tensor({0, 1, 2, 3, 4}, torch::kInt64);
  low.labels = torch::tensor({0, -7, 2, 1, 0}, torch::kInt64);

  check_error([&] { high.checked(); }, {"Dataset five: label 3 of image 3", "0 to 2"});
  check_error([&] { low.checked(); }, {"Dataset five: label -7 of image 1", "0 to 2"});
  CHECK_NOTHROW(five_images().checked());
}

TEST_CASE("what does not fit together in a data set is said", "[data]") {
  const auto refuses = [](auto&& change, std::initializer_list<std::string> parts) {
    auto dataset = five_images();
    change(dataset);
    check_error([&] { dataset.checked(); }, parts);
  };

  refuses([](Dataset& d) { d.images = torch::Tensor(); }, {"images are undefined, expected (N, C, H, W) uint8"});
  refuses([](Dataset& d) { d.images = d.images[0]; }, {"images are (2, 2, 3) uint8 on cpu"});
  refuses([](Dataset& d) { d.images = d.images.to(torch::kFloat32); }, {"images are (5, 2, 2, 3) float32"});
  refuses([](Dataset& d) { d.images = d.images.slice(0, 0, 0); }, {"(0, 2, 2, 3)", "at least one image"});
  refuses([](Dataset& d) { d.labels = torch::Tensor(); }, {"labels are undefined, expected (5) int64"});
  refuses([](Dataset& d) { d.labels = d.labels.slice(0, 0, 4); }, {"labels are (4) int64 on cpu, expected (5) int64"});
  refuses([](Dataset& d) { d.labels = d.labels.to(torch::kInt32); }, {"labels are (5) int32"});
  refuses([](Dataset& d) { d.labels = d.labels.to(torch::kMeta); }, {"images are on cpu, but labels are on meta"});
  refuses([](Dataset& d) { d.mean = {0}; }, {"mean has 1 values and deviation 2, expected one per channel, 2"});
  refuses([](Dataset& d) { d.deviation[1] = 0; }, {"deviation has the value 0"});
  refuses([](Dataset& d) { d.deviation[0] = INFINITY; }, {"deviation has the value inf"});
  refuses([](Dataset& d) { d.mean[1] = NAN; }, {"mean has the value nan"});
  refuses([](Dataset& d) { d.pixel_max = INFINITY; }, {"pixel_max is inf"});
  refuses([](Dataset& d) { d.pixel_max = 0; }, {"pixel_max is 0"});
  refuses([](Dataset& d) { d.classes = 0; }, {"label 0 of image 0"});
}
