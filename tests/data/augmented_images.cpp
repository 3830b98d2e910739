// SPDX-License-Identifier: Apache-2.0
#include <ATen/CPUGeneratorImpl.h>

#include <creditlib/data/augment.hpp>
#include <creditlib/data/batches.hpp>
#include <creditlib/data/normalize.hpp>

#include "../test.hpp"

using namespace creditlib;
using creditlib::detail::AugmentedImages;
using creditlib::detail::ImageDraws;
using Shape = std::vector<std::int64_t>;  // N, C, H, W

// Images of every pixel value, with a mean and a deviation of its own for each channel.
static data::Dataset random_images(const Shape& shape) {
  torch::manual_seed(3);
  const std::vector<double> mean = {0.4914, 0.4822, 0.4465}, deviation = {0.2470, 0.2435, 0.2616};
  return {.name = "random",
          .images = torch::randint(0, 256, shape, torch::kUInt8),
          .labels = torch::arange(shape[0]),
          .classes = shape[0],
          .mean = {mean.begin(), mean.begin() + shape[1]},
          .deviation = {deviation.begin(), deviation.begin() + shape[1]}};
}

// The same images with columns and rows exchanged in memory.
static data::Dataset not_contiguous(data::Dataset dataset) {
  dataset.images = dataset.images.transpose(2, 3).contiguous().transpose(2, 3);
  return dataset;
}

// Every crop, flipped and not, of images in no order, some of them more than once.
static ImageDraws every_draw(std::int64_t images) {
  const auto draw = torch::arange(162);
  return {.index = (draw * 7 + 3).remainder(images),
          .dy = draw.div(18, "floor"),
          .dx = draw.div(2, "floor").remainder(9),
          .flip = draw.remainder(2).to(torch::kBool)};
}

static torch::Tensor one_by_one(const data::Dataset& dataset, const ImageDraws& draws, torch::Dtype dtype) {
  const auto picked = dataset.images.index_select(0, draws.index);
  const auto moved = draws.flip.defined() ? data::crop_and_flip(picked, draws.dy, draws.dx, draws.flip, 4) : picked;
  return data::normalise(moved, dataset, dtype);
}

TEST_CASE("images made in one pass are those cropped, flipped and then normalised, to the bit", "[data]") {
  for (const Shape& shape : {Shape{50, 3, 32, 32}, Shape{50, 1, 28, 28}, Shape{50, 1, 8, 8}, Shape{50, 3, 8, 8},
                             Shape{50, 2, 5, 7}, Shape{50, 1, 3, 2}, Shape{1, 3, 1, 1}}) {
    for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
      const auto dataset = random_images(shape);
      const AugmentedImages images(dataset, dtype, 4);
      const auto draws = every_draw(shape[0]);
      const ImageDraws as_they_are{.index = draws.index};
      CAPTURE(shape, dtype);

      const auto y = images(draws), plain = images(as_they_are);

      CHECK(y.scalar_type() == dtype);
      CHECK(y.is_contiguous());
      CHECK(torch::equal(y, one_by_one(dataset, draws, dtype)));
      CHECK(torch::equal(plain, one_by_one(dataset, as_they_are, dtype)));
    }
  }
}

TEST_CASE("another padding, and a part of a data set, are taken in one pass as well", "[data]") {
  auto dataset = random_images({50, 3, 8, 8});
  dataset.pixel_max = 16;
  const auto part = dataset.first(20);
  auto draws = every_draw(20);
  draws.dy = draws.dy.remainder(3);
  draws.dx = draws.dx.remainder(3);

  const auto y = AugmentedImages(part, torch::kFloat32, 1)(draws);

  const auto picked = part.images.index_select(0, draws.index);
  CHECK(torch::equal(y, data::normalise(data::crop_and_flip(picked, draws.dy, draws.dx, draws.flip, 1), part)));
}

TEST_CASE("images that are not contiguous give the same numbers", "[data]") {
  const auto dataset = random_images({50, 3, 5, 7}), exchanged = not_contiguous(dataset);
  const auto draws = every_draw(50);
  REQUIRE_FALSE(exchanged.images.is_contiguous());

  const auto y = AugmentedImages(exchanged, torch::kFloat32, 4)(draws);

  CHECK(torch::equal(y, one_by_one(dataset, draws, torch::kFloat32)));
}

// An epoch's draws, in the order in which Batches takes them from its generator: what a seed has meant so far.
static ImageDraws epoch_of_seed(std::int64_t seed, std::int64_t images, bool shuffle, bool augment) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<std::uint64_t>(seed));
  const auto below = [&](std::int64_t end) { return torch::randint(0, end, {images}, generator, torch::kInt64); };
  ImageDraws draws;
  draws.index = shuffle ? torch::randperm(images, generator, torch::kInt64) : torch::arange(images);
  if (!augment) return draws;
  draws.dy = below(9);
  draws.dx = below(9);
  draws.flip = below(2).to(torch::kBool);
  return draws;
}

TEST_CASE("an epoch is its seed's draws, cropped, flipped and then normalised, to the bit", "[data]") {
  for (const bool shuffle : {false, true}) {
    for (const bool augment : {false, true}) {
      for (const bool flatten : {false, true}) {
        for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
          const auto dataset = random_images({50, 3, 8, 8});
          data::Batches batches(dataset, {.batch_size = 16,
                                          .shuffle = shuffle,
                                          .augment = augment,
                                          .flatten = flatten,
                                          .seed = 5,
                                          .dtype = dtype});
          const auto draws = epoch_of_seed(5, 50, shuffle, augment);
          CAPTURE(shuffle, augment, flatten, dtype);

          std::vector<torch::Tensor> inputs, targets;
          for (auto& [x, y] : batches) {
            inputs.push_back(x);  // kept while the next batch is made
            targets.push_back(y);
          }

          const auto expected = one_by_one(dataset, draws, dtype);
          CHECK(inputs.size() == 4);
          CHECK(torch::equal(torch::cat(inputs), flatten ? expected.flatten(1) : expected));
          CHECK(torch::equal(torch::cat(targets), draws.index));
        }
      }
    }
  }
}

TEST_CASE("a batch is the caller's own: writing to it changes neither the data set nor a later epoch", "[data]") {
  const auto dataset = random_images({8, 1, 4, 4});
  const auto images = dataset.images.clone(), labels = dataset.labels.clone();
  data::Batches batches(dataset, {.batch_size = 8, .shuffle = false});
  const auto before = batches.begin()->input.clone();

  for (auto batch : batches) {
    batch.input.zero_();
    batch.target.zero_();
  }

  CHECK(torch::equal(dataset.images, images));
  CHECK(torch::equal(dataset.labels, labels));
  CHECK(torch::equal(batches.begin()->input, before));
}
