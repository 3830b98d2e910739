// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <string>
#include <vector>

#include "models.hpp"
#include "test.hpp"

/// A network of matrices alone under SquaredError, whose loss is exactly quadratic in every hidden state:
///
///     h_0 = E x,  h_1 = A_0 h_0,  h_2 = A_1 h_1,  loss = 1/2 |W h_2 - y|^2
namespace creditlib::test {

struct Quadratic {
  SequentialBlocks model = nullptr;
  torch::Tensor x, y;
  std::vector<torch::Tensor> rest;  ///< J_l in float64, (outputs, size of h_l): the logits are J_l h_l

  /// dloss_i/dh_l = J_l^T (J_l h_l - y), from the matrices, float64.
  torch::Tensor gradient(std::size_t l, const torch::Tensor& h) const {
    return (h.to(torch::kFloat64).mm(rest[l].t()) - y.to(torch::kFloat64)).mm(rest[l]);
  }
  /// 1/2 |J_l h - y|^2, (B) float64.
  torch::Tensor loss(std::size_t l, const torch::Tensor& h) const {
    return (h.to(torch::kFloat64).mm(rest[l].t()) - y.to(torch::kFloat64)).square().sum(1) / 2;
  }
};

inline Quadratic quadratic(torch::Dtype dtype = torch::kFloat64, std::int64_t batch = 9, std::uint64_t seed = 21) {
  using namespace torch::nn;
  torch::manual_seed(seed);
  const auto matrix = [](std::int64_t in, std::int64_t out) { return Linear(LinearOptions(in, out).bias(false)); };
  const auto embed = matrix(6, 5), first = matrix(5, 7), second = matrix(7, 4), readout = matrix(4, 3);
  Quadratic made;
  made.model = SequentialBlocks({.embed = Sequential(embed),
                                 .blocks = {Sequential(first), Sequential(second)},
                                 .readout = Sequential(readout),
                                 .example = torch::zeros({1, 6})});
  made.model = lively(made.model, dtype);
  made.x = torch::randn({batch, 6}).to(dtype);
  made.y = torch::randn({batch, 3}).to(dtype);
  const auto of = [](const Linear& linear) { return linear->weight.detach().to(torch::kFloat64); };
  const auto last = of(readout);
  made.rest = {last.mm(of(second)).mm(of(first)), last.mm(of(second)), last};
  return made;
}

/// Any credits for the quadratic network, (B, size of h_l).
inline std::vector<torch::Tensor> some_credits(const Quadratic& net, torch::Dtype dtype = torch::kFloat64) {
  torch::manual_seed(77);
  std::vector<torch::Tensor> credits;
  for (const auto& J : net.rest) credits.push_back(torch::randn({net.x.size(0), J.size(1)}).to(dtype));
  return credits;
}

/// A module's whole state, to the bit: parameters, buffers, modes; with the global generator's.
struct ModuleState {
  std::vector<torch::Tensor> tensors;
  std::vector<const void*> storage;
  std::vector<bool> training;

  explicit ModuleState(torch::nn::Module& module) {
    for (const auto& tensor : module.parameters()) keep(tensor);
    for (const auto& tensor : module.buffers()) keep(tensor);
    for (const auto& child : module.modules()) training.push_back(child->is_training());
    tensors.push_back(global_generator_state());
  }
  bool operator==(const ModuleState& other) const {
    return same(tensors, other.tensors) && storage == other.storage && training == other.training;
  }

 private:
  void keep(const torch::Tensor& tensor) {
    tensors.push_back(tensor.detach().clone());
    storage.push_back(tensor.const_data_ptr());
  }
};

}  // namespace creditlib::test
