// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/model/sequential_blocks.hpp>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

/// Credits that a test has chosen, and the gradients that a step leaves.
namespace creditlib::test {

/// Credits with the shapes of h_0, f_0..f_{L-1}, for FixedCredit.
inline std::vector<torch::Tensor> arbitrary_credits(SequentialBlocks model, const Batch& batch, double scale = 1) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(21);
  std::vector<torch::Tensor> credits;
  auto h = model->embed(batch.x);
  credits.push_back(scale * torch::randn_like(h));
  for (std::int64_t l = 0; l < model->blocks(); ++l) {
    h = model->join(l, h, model->block(l, h));
    credits.push_back(scale * torch::randn_like(h));
  }
  return credits;
}

/// What the .grad of these parameters hold.
inline std::vector<torch::Tensor> gradients_of_parts(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> gradients;
  for (const auto& parameter : parameters) gradients.push_back(parameter.grad());
  return copies(gradients);
}

/// The norm of the gradients together.
inline double norm_of(const std::vector<torch::Tensor>& gradients) {
  double sum = 0;
  for (const auto& gradient : gradients) sum += gradient.square().sum().item<double>();
  return std::sqrt(sum);
}

}  // namespace creditlib::test
