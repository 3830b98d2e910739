// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/factored_credit.hpp>
#include <vector>

namespace creditlib::detail {

/// The gradient of a loss in the output of one part of a network: dense, or as factors; undefined if there is none.
struct OutputGradient {
  torch::Tensor dense = {};
  FactoredCredit factors = {};

  bool defined() const { return dense.defined() || factors.defined(); }
};

/// A parameter's gradient as a product of thin matrices, left (out, r) times right, (r, in) of a weight and (r) of a bias.
/// With credit that is kept as factors, left is the source's and the same for all batches.
struct FactoredGradient {
  torch::Tensor left, right;

  bool defined() const { return left.defined(); }
  torch::Tensor dense() const { return left.matmul(right); }
};

/// Where one step's backward starts: the gradients of the local losses in h_0, in each f_l, and in the logits.
struct OutputGradients {
  OutputGradient embed;
  std::vector<OutputGradient> blocks;
  torch::Tensor readout;
};

}  // namespace creditlib::detail
