// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/model/sequential_blocks.hpp>

#include "models.hpp"
#include "test.hpp"

/// Networks whose logits have positions, and batches for them with one label that does not count.
namespace creditlib::test {

/// Token ids (B, N) to logits (B, N, 4).
inline SequentialBlocks token_net(bool any_positions = false) {
  using namespace torch::nn;
  SequentialBlocks model({.embed = Sequential(Embedding(9, 6)),
                          .blocks = {Sequential(Linear(6, 6), GELU()), Sequential(Linear(6, 5), Tanh())},
                          .readout = Sequential(Linear(5, 4)),
                          .example = torch::zeros({1, 3}, torch::kInt64),
                          .any_positions = any_positions});
  model->to(torch::kFloat64);
  return model;
}

/// Images (B, 2, H, W) to logits of the same size, (B, 4, H, W).
inline SequentialBlocks pixel_net(bool any_positions = false) {
  using namespace torch::nn;
  const auto conv = [](int in, int out) { return Conv2d(Conv2dOptions(in, out, 3).padding(1)); };
  SequentialBlocks model({.embed = Sequential(conv(2, 3)),
                          .blocks = {Sequential(conv(3, 5), GELU()), Sequential(conv(5, 3), Tanh())},
                          .readout = Sequential(conv(3, 4)),
                          .example = torch::zeros({1, 2, 4, 5}),
                          .any_positions = any_positions});
  model->to(torch::kFloat64);
  return model;
}

inline Batch token_batch(std::int64_t positions = 3) {
  auto y = torch::randint(4, {7, positions});
  y[2][1] = -100;
  return {torch::randint(9, {7, positions}), y};
}
inline Batch pixel_batch(std::int64_t height = 4, std::int64_t width = 5) {
  auto y = torch::randint(4, {7, height, width});
  y[3][1][2] = -100;
  return {torch::randn({7, 2, height, width}, torch::kFloat64), y};
}

}  // namespace creditlib::test
