// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>
#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <cstdint>
#include <functional>
#include <string>

namespace creditlib::testing {

/// Inputs (B, ...) and what the objective takes as their target, (B) or (B, ...).
struct Batch {
  torch::Tensor x, y;
};

/// A model that rules are tested on, and batches for it.
///
///     creditlib::testing::ModelCase<MyModel>{
///         .name = "mine",
///         .make = [] { return MyModel(options); },
///         .batch = [](std::int64_t size) {
///           return creditlib::testing::Batch{torch::randn({size, 6}), torch::randint(4, {size})};
///         }}
///
/// - The model is small, on the CPU, and in the mode in which it is trained.
/// - Both functions may draw from torch's global generator, which is seeded before each call; the same draws must give
///   the same model and batch.
/// - Models and floating-point tensors are made in float32; the laws cast them to the dtype that they need.
template <BlockModel Model>
struct ModelCase {
  std::string name;
  std::function<Model()> make;
  std::function<Batch(std::int64_t size)> batch;

  /// A fresh model; another seed gives other weights.
  Model model(torch::Dtype dtype = torch::kFloat32, std::uint64_t seed = 1) const {
    at::manual_seed(seed);
    Model made = make();
    made->to(dtype);
    return made;
  }

  /// A batch; another seed gives other samples.
  Batch batch_of(torch::Dtype dtype = torch::kFloat32, std::int64_t size = 7, std::uint64_t seed = 11) const {
    at::manual_seed(seed);
    const auto cast = [&](const torch::Tensor& t) { return t.is_floating_point() ? t.to(dtype) : t; };
    const auto [x, y] = batch(size);
    return {cast(x), cast(y)};
  }
};

}  // namespace creditlib::testing
