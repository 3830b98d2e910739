// SPDX-License-Identifier: Apache-2.0
#include <ATen/CPUGeneratorImpl.h>

#include <creditlib/data/batches.hpp>
#include <ranges>
#include <type_traits>

#include "../io/files.hpp"

using namespace creditlib;
using creditlib::test::check_error;
using data::Batches;

static_assert(std::ranges::input_range<Batches>);
static_assert(std::is_move_constructible_v<Batches> && !std::is_copy_constructible_v<Batches>);

// N images of 2 x 3 x 3; every pixel of image i is i, and so is its label. Normalising changes nothing.
static data::Dataset numbered_images(std::int64_t n) {
  return {.name = "numbered",
          .images = torch::arange(n, torch::kUInt8).view({n, 1, 1, 1}).repeat({1, 2, 3, 3}),
          .labels = torch::arange(n),
          .classes = n,
          .pixel_max = 1,
          .mean = {0, 0},
          .deviation = {1, 1}};
}

static std::vector<data::Batch> epoch_of(Batches& batches) {
  std::vector<data::Batch> epoch;
  for (const auto& batch : batches) epoch.push_back(batch);
  return epoch;
}

static torch::Tensor labels_of(Batches& batches) {
  std::vector<torch::Tensor> labels;
  for (auto& [x, y] : batches) labels.push_back(y);
  return torch::cat(labels);
}

static bool same(const std::vector<data::Batch>& a, const std::vector<data::Batch>& b) {
  return std::ranges::equal(a, b, [](const auto& left, const auto& right) {
    return torch::equal(left.input, right.input) && torch::equal(left.target, right.target);
  });
}

TEST_CASE("every image comes once an epoch with its label, in another order each time, the last batch short",
          "[data]") {
  Batches batches(numbered_images(10), {.batch_size = 4});

  std::vector<torch::Tensor> orders;
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::int64_t> sizes;
    std::vector<torch::Tensor> labels;
    for (auto& [x, y] : batches) {
      sizes.push_back(y.size(0));
      labels.push_back(y);
      CHECK(torch::equal(x, y.view({-1, 1, 1, 1}).expand({-1, 2, 3, 3}).to(torch::kFloat32)));
    }
    CHECK(sizes == std::vector<std::int64_t>{4, 4, 2});
    CHECK(torch::equal(std::get<0>(torch::cat(labels).sort()), torch::arange(10)));
    orders.push_back(torch::cat(labels));
  }

  CHECK(batches.batches_per_epoch() == 3);
  CHECK_FALSE(torch::equal(orders[0], torch::arange(10)));
  CHECK_FALSE(torch::equal(orders[0], orders[1]));
  CHECK_FALSE(torch::equal(orders[1], orders[2]));
}

TEST_CASE("without shuffle the images come in their own order", "[data]") {
  Batches batches(numbered_images(10), {.batch_size = 3, .shuffle = false});

  CHECK(torch::equal(labels_of(batches), torch::arange(10)));
  CHECK(torch::equal(labels_of(batches), torch::arange(10)));
}

TEST_CASE("the number of batches is right where the size divides, where it does not, and where one is enough",
          "[data]") {
  const auto count = [](std::int64_t batch_size, bool drop_last) {
    Batches batches(numbered_images(12), {.batch_size = batch_size, .drop_last = drop_last});
    const auto iterated = static_cast<std::int64_t>(epoch_of(batches).size());
    return iterated == batches.batches_per_epoch() ? iterated : -1;
  };

  CHECK(count(4, false) == 3);
  CHECK(count(5, false) == 3);
  CHECK(count(50, false) == 1);
  CHECK(count(1, false) == 12);
  CHECK(count(4, true) == 3);
  CHECK(count(5, true) == 2);
}

TEST_CASE("dropping the last batch leaves out other images each epoch", "[data]") {
  Batches batches(numbered_images(12), {.batch_size = 10, .drop_last = true});

  const auto first = std::get<0>(labels_of(batches).sort()), second = std::get<0>(labels_of(batches).sort());

  CHECK(first.size(0) == 10);
  CHECK_FALSE(torch::equal(first, second));
}

TEST_CASE("a flat batch has one row an image, in the dtype asked for", "[data]") {
  auto dataset = numbered_images(4);
  dataset.images = torch::arange(72, torch::kUInt8).view({4, 2, 3, 3});
  Batches flat(dataset, {.shuffle = false, .flatten = true, .dtype = torch::kFloat64});

  const auto x = (*flat.begin()).input;

  CHECK(torch::equal(x, torch::arange(72, torch::kFloat64).view({4, 18})));
  CHECK(x.is_contiguous());
}

TEST_CASE("the same seed gives the same batches to the bit, another seed others", "[data]") {
  Batches a(numbered_images(50), {.batch_size = 16, .augment = true, .seed = 7});
  Batches again(numbered_images(50), {.batch_size = 16, .augment = true, .seed = 7});
  Batches other(numbered_images(50), {.batch_size = 16, .augment = true, .seed = 8});

  for (int epoch = 0; epoch < 2; ++epoch) {
    const auto batches = epoch_of(a);
    CHECK(same(batches, epoch_of(again)));
    CHECK_FALSE(same(batches, epoch_of(other)));
  }
}

TEST_CASE("neither making nor iterating touches torch's global generator, nor depends on it", "[data]") {
  const auto global = [] { return at::detail::getDefaultCPUGenerator().get_state(); };
  torch::manual_seed(1);
  const auto before = global();

  Batches batches(numbered_images(50), {.augment = true});
  const auto first = epoch_of(batches);

  CHECK(torch::equal(global(), before));
  torch::manual_seed(2);
  Batches again(numbered_images(50), {.augment = true});
  CHECK(same(epoch_of(again), first));
}

TEST_CASE("each image is cropped and flipped on its own, in every way as often as the others", "[data]") {
  constexpr std::int64_t n = 8100, outcomes = 162;
  const auto image = torch::arange(1, 82, torch::kUInt8).view({1, 1, 9, 9});
  const data::Dataset dataset{.name = "one image",
                              .images = image.repeat({n, 1, 1, 1}),
                              .labels = torch::zeros({n}, torch::kInt64),
                              .classes = 1,
                              .pixel_max = 1,
                              .mean = {0},
                              .deviation = {1}};
  const auto draw = torch::arange(outcomes);
  const auto possible = data::crop_and_flip(image.repeat({outcomes, 1, 1, 1}), draw.div(18, "floor"),
                                            draw.div(2, "floor").remainder(9), draw.remainder(2).to(torch::kBool));
  Batches batches(dataset, {.batch_size = n / 2, .augment = true, .flatten = true});

  std::vector<torch::Tensor> found;
  for (auto& [x, y] : batches) found.push_back(x.to(torch::kUInt8));
  const auto matches = (torch::cat(found).unsqueeze(1) == possible.flatten(1).unsqueeze(0)).all(2);
  const auto outcome = matches.to(torch::kUInt8).argmax(1).view({2, n / 2});  // one row a batch

  CHECK((matches.sum(1) == 1).all().item<bool>());
  CHECK(matches.sum(0).min().item<int>() > 15);  // 50 expected, with a deviation of 7
  CHECK(matches.sum(0).max().item<int>() < 85);
  for (const auto& draws : {outcome.div(18, "floor"), outcome.div(2, "floor").remainder(9), outcome.remainder(2)}) {
    CHECK_FALSE(torch::equal(draws[0], draws[1]));
  }
}

TEST_CASE("images keep their labels when they are augmented, and the data set is left as it is", "[data]") {
  const auto dataset = numbered_images(200);
  const auto before = dataset.images.clone();
  Batches batches(dataset, {.augment = true});

  bool kept = true;
  for (auto& [x, y] : batches) {
    const auto brightest = x.flatten(1).amax(1);  // 0 where only border is left
    kept = kept && ((brightest == 0).logical_or(brightest == y)).all().item<bool>();
  }

  CHECK(kept);
  CHECK(torch::equal(dataset.images, before));
}

TEST_CASE("a run resumes from the generator's state with the batches that it would have had", "[data]") {
  Batches first(numbered_images(40), {.batch_size = 7, .augment = true, .seed = 1});
  Batches resumed(numbered_images(40), {.batch_size = 7, .augment = true, .seed = 2});
  epoch_of(first);
  const auto state = first.named_tensors();
  const auto expected = epoch_of(first);

  resumed.load(state);

  CHECK(same(epoch_of(resumed), expected));
  CHECK(same(epoch_of(resumed), epoch_of(first)));
}

TEST_CASE("a state that is missing or none is refused, and changes nothing", "[data]") {
  Batches batches(numbered_images(40), {}), untouched(numbered_images(40), {});

  check_error([&] { batches.load({{"other", torch::ones({2})}}); }, {"\"generator\"", "1 tensors"});
  CHECK_THROWS_AS(batches.load({{"generator", torch::ones({2})}}), Error);
  CHECK_THROWS_AS(batches.load({{"generator", torch::zeros({5}, torch::kUInt8)}}), Error);
  CHECK_THROWS_AS(batches.load({{"generator", torch::Tensor()}}), Error);

  CHECK(same(epoch_of(batches), epoch_of(untouched)));
}

TEST_CASE("batches that another thread makes ahead are the same ones, epoch after epoch", "[data]") {
  const auto images = numbered_images(11);
  const data::BatchOptions options{.batch_size = 4, .augment = true, .seed = 3};
  auto ahead_options = options;
  ahead_options.prefetch = true;
  Batches plain(images, options), ahead(images, ahead_options);
  for (int epoch = 0; epoch < 3; ++epoch) CHECK(same(epoch_of(plain), epoch_of(ahead)));

  // An epoch that is left early is waited for, and counts as it does without.
  for (const auto& batch : plain) {
    CHECK(batch.target.size(0) == 4);
    break;
  }
  for (const auto& batch : ahead) {
    CHECK(batch.target.size(0) == 4);
    break;
  }
  const auto state = ahead.named_tensors();
  const auto next = epoch_of(plain);
  CHECK(same(next, epoch_of(ahead)));
  ahead.load(state);
  CHECK(same(next, epoch_of(ahead)));
}

TEST_CASE("batches on CUDA are those on the CPU", "[data][cuda]") {
  if (!torch::cuda::is_available()) {
    SUCCEED("skipped: no CUDA device");
    return;
  }
  Batches cpu(numbered_images(50), {.batch_size = 16, .augment = true});
  Batches cuda(numbered_images(50).to(torch::kCUDA), {.batch_size = 16, .augment = true});

  auto moved = epoch_of(cuda);
  for (auto& [x, y] : moved) {
    CHECK(x.is_cuda());
    x = x.cpu();
    y = y.cpu();
  }

  CHECK(same(moved, epoch_of(cpu)));
}

TEST_CASE("what no batch can be made of is refused", "[data]") {
  auto none = numbered_images(3), wrong = numbered_images(3);
  none.images = none.images.slice(0, 0, 0);
  wrong.labels = torch::tensor({0, 1, 5}, torch::kInt64);

  check_error([] { Batches(numbered_images(3), {.batch_size = 0}); }, {"batch_size is 0, expected at least 1."});
  check_error([] { Batches(numbered_images(3), {.batch_size = -4}); }, {"batch_size is -4"});
  check_error([] { Batches(numbered_images(3), {.batch_size = 4, .drop_last = true}); },
              {"numbered", "3 samples", "4"});
  check_error([] { Batches(numbered_images(3), {.dtype = torch::kInt64}); }, {"dtype is int64"});
  check_error([&] { Batches{none}; }, {"numbered", "at least one image"});
  check_error([&] { Batches{wrong}; }, {"numbered", "label 5 of image 2", "0 to 2"});
}
