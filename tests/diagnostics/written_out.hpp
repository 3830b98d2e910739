// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "../test.hpp"

/// Gradients that a test writes out, and a network that has them.
namespace creditlib::test {

inline torch::Tensor numbers(const std::vector<double>& values) { return torch::tensor(values, torch::kFloat64); }

/// A network of three parameters in an order that is not that of its parts: readout first, then block, then embed.
struct UnorderedImpl : torch::nn::Module {
  UnorderedImpl() {
    out = register_parameter("out", torch::ones({3, 2}));
    in = register_parameter("in", torch::ones({2, 2}));
    w = register_parameter("w", torch::ones({2, 2}));
  }
  torch::Tensor embed(const torch::Tensor& x) { return x.mm(in); }
  std::int64_t blocks() const { return 1; }
  torch::Tensor block(std::int64_t, const torch::Tensor& h) { return h.mm(w); }
  torch::Tensor join(std::int64_t, const torch::Tensor&, const torch::Tensor& f) { return f; }
  torch::Tensor readout(const torch::Tensor& h) { return h.mm(out.t()); }
  torch::Tensor forward(const torch::Tensor& x) { return readout(block(0, embed(x))); }
  std::int64_t classes() const { return 3; }
  std::vector<std::int64_t> hidden_shape(std::int64_t) const { return {2}; }
  std::vector<torch::Tensor> embed_parameters() const { return {in}; }
  std::vector<torch::Tensor> block_parameters(std::int64_t) const { return {w}; }
  std::vector<torch::Tensor> readout_parameters() const { return {out}; }

  torch::Tensor out, in, w;
};

}  // namespace creditlib::test
