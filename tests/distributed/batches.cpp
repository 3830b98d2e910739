// SPDX-License-Identifier: Apache-2.0
#include <creditlib/data/batches.hpp>
#include <creditlib/data/tensors.hpp>
#include <memory>
#include <string>
#include <vector>

#include "../models.hpp"
#include "ranks.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

data::Tensors numbered_rows(std::int64_t samples) {
  return {.inputs = torch::arange(samples, torch::kFloat32).unsqueeze(1), .targets = torch::arange(samples)};
}

data::Dataset small_images(std::int64_t samples) {
  torch::manual_seed(3);
  return {.name = "small",
          .images = torch::randint(0, 256, {samples, 1, 6, 6}, torch::kUInt8),
          .labels = torch::arange(samples) % 3,
          .classes = 3,
          .mean = {0.5},
          .deviation = {0.3}};
}

/// The batches of two epochs of `size` processes, put together rank by rank.
template <class Source>
std::vector<data::Batch> put_together(const Source& source, const data::BatchOptions& options, std::int64_t size) {
  std::vector<std::vector<data::Batch>> of_rank(static_cast<std::size_t>(size));
  in_ranks(size, [&](const std::shared_ptr<distributed::Group>& group) {
    auto own = options;
    if (size > 1) own.group = group;
    data::Batches batches(source, own);
    for (int epoch = 0; epoch < 2; ++epoch) {
      for (const auto& batch : batches) of_rank[static_cast<std::size_t>(group->rank())].push_back(batch);
    }
  });
  std::vector<data::Batch> whole;
  for (std::size_t i = 0; i < of_rank[0].size(); ++i) {
    std::vector<torch::Tensor> inputs, targets;
    for (const auto& batches : of_rank) {
      inputs.push_back(batches[i].input);
      targets.push_back(batches[i].target);
    }
    whole.push_back({torch::cat(inputs), torch::cat(targets)});
  }
  return whole;
}

template <class Source>
void check_shared_out(const Source& source, const data::BatchOptions& options, std::int64_t size) {
  const auto alone = put_together(source, options, 1), together = put_together(source, options, size);
  REQUIRE(together.size() == alone.size());
  for (std::size_t i = 0; i < alone.size(); ++i) {
    CHECK(torch::equal(together[i].input, alone[i].input));
    CHECK(torch::equal(together[i].target, alone[i].target));
  }
}

}  // namespace

TEST_CASE("the rows of all ranks together are the batches of one process", "[distributed][data]") {
  for (const bool prefetch : {false, true}) {
    check_shared_out(numbered_rows(23), {.batch_size = 8, .prefetch = prefetch}, 2);
    check_shared_out(numbered_rows(23), {.batch_size = 8, .prefetch = prefetch}, 3);
    check_shared_out(numbered_rows(25), {.batch_size = 8, .drop_last = true, .prefetch = prefetch}, 3);
    check_shared_out(numbered_rows(7), {.batch_size = 8, .shuffle = false}, 4);
    check_shared_out(small_images(14), {.batch_size = 5, .augment = true, .prefetch = prefetch}, 2);
  }
}

TEST_CASE("each rank has as many rows as any other, or one more", "[distributed][data]") {
  std::vector<std::vector<std::int64_t>> rows(3);
  std::vector<std::int64_t> sizes(3), numbers(3);

  in_ranks(3, [&](const std::shared_ptr<distributed::Group>& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    data::Batches batches(numbered_rows(20), {.batch_size = 8, .group = group});
    for (const auto& batch : batches) rows[at].push_back(batch.input.size(0));
    sizes[at] = batches.size();
    numbers[at] = batches.batches_per_epoch();
  });

  CHECK(rows == std::vector<std::vector<std::int64_t>>{{3, 3, 2}, {3, 3, 1}, {2, 2, 1}});
  CHECK(sizes == std::vector<std::int64_t>(3, 20));
  CHECK(numbers == std::vector<std::int64_t>(3, 3));
}

TEST_CASE("a batch that is too small for all ranks, or is another on each, is refused", "[distributed][data]") {
  const auto said_with = [](const auto& options_of, const auto& rows_of) {
    std::string said;
    in_ranks(3, [&](const std::shared_ptr<distributed::Group>& group) {
      auto options = options_of(group->rank());
      options.group = group;
      const auto message = error_of([&] { data::Batches(rows_of(group->rank()), options); });
      if (group->rank() == 2) said = message;
    });
    return said;
  };
  const auto rows = [](std::int64_t samples) { return [=](std::int64_t) { return numbered_rows(samples); }; };
  const auto options = [](const data::BatchOptions& given) { return [=](std::int64_t) { return given; }; };

  CHECK(says(said_with(options({.batch_size = 2}), rows(9)),
             {"a batch of 2 for 3 processes", "a batch_size, and data, of 3 samples at least"}));
  CHECK(says(said_with(options({.batch_size = 4}), rows(10)),
             {"the last batch of an epoch is 2 for 3 processes", "drop_last"}));
  CHECK(said_with(options({.batch_size = 4, .drop_last = true}), rows(10)) == "(nothing was thrown)");
  CHECK(
      says(said_with([](std::int64_t rank) { return data::BatchOptions{.batch_size = 4, .seed = rank / 2}; }, rows(12)),
           {"do not agree", "seed is 1 on rank 2, and 0 on rank 0"}));
  CHECK(says(said_with(options({.batch_size = 4}), [](std::int64_t rank) { return numbered_rows(12 + rank / 2); }),
             {"the shape of the inputs is (13, 1) float32 on rank 2"}));
}
