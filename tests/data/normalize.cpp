// SPDX-License-Identifier: Apache-2.0
#include <creditlib/data/normalize.hpp>

#include "../io/files.hpp"

using namespace creditlib;
using creditlib::test::check_error;

static data::Dataset every_pixel() {
  return {.name = "every pixel",
          .images = torch::arange(256, torch::kUInt8).view({1, 1, 16, 16}).repeat({2, 3, 1, 1}),
          .labels = torch::zeros({2}, torch::kInt64),
          .classes = 1,
          .mean = {0.4914, 0.4822, 0.4465},
          .deviation = {0.2470, 0.2435, 0.2616}};
}

// To the bit: numbers rounded to T at each step.
template <class T>
static bool normalised_to_the_bit(const torch::Tensor& found, const data::Dataset& dataset) {
  const auto x = found.accessor<T, 4>();
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t c = 0; c < 3; ++c) {
      const auto mean = static_cast<T>(dataset.mean[static_cast<std::size_t>(c)]);
      const auto deviation = static_cast<T>(dataset.deviation[static_cast<std::size_t>(c)]);
      for (int pixel = 0; pixel < 256; ++pixel) {
        const T scaled = static_cast<T>(pixel) / static_cast<T>(dataset.pixel_max);
        const T centred = scaled - mean;
        if (x[b][c][pixel / 16][pixel % 16] != centred / deviation) return false;
      }
    }
  }
  return true;
}

TEST_CASE("every pixel value of every channel is normalised by the formula, to the bit", "[data]") {
  auto dataset = every_pixel();

  CHECK(normalised_to_the_bit<float>(data::normalise(dataset.images, dataset), dataset));
  CHECK(normalised_to_the_bit<double>(data::normalise(dataset.images, dataset, torch::kFloat64), dataset));
  dataset.pixel_max = 16;
  CHECK(normalised_to_the_bit<float>(data::normalise(dataset.images, dataset), dataset));
}

TEST_CASE("the images themselves are left as they are", "[data]") {
  const auto dataset = every_pixel();
  const auto before = dataset.images.clone();

  data::normalise(dataset.images, dataset);

  CHECK(torch::equal(dataset.images, before));
}

TEST_CASE("other dtypes than float32 and float64 are refused, as is a data set that is not sound", "[data]") {
  auto dataset = every_pixel();

  check_error([&] { data::Normalize(dataset, torch::kFloat16); }, {"dtype is float16", "float32 or float64"});
  dataset.mean.pop_back();
  check_error([&] { data::Normalize{dataset}; }, {"every pixel", "mean has 2 values"});
}

TEST_CASE("images of another number of channels are refused", "[data]") {
  const auto dataset = every_pixel();

  CHECK_THROWS_AS(data::normalise(torch::zeros({1, 2, 4, 4}, torch::kUInt8), dataset), Error);
}
