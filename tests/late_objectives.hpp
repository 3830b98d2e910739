// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/objective/binary_cross_entropy.hpp>
#include <creditlib/objective/cross_entropy.hpp>

#include "test.hpp"

/// Objectives that look at targets on the CPU as the library's look at those on CUDA: not in check.
namespace creditlib::test {

struct LateCrossEntropy : CrossEntropy {
  void check(const torch::Tensor& logits, const torch::Tensor& target) const {
    CrossEntropy::check(logits, target.numel() == 1 ? target : in_range(logits, target));
  }
  torch::Tensor in_range(const torch::Tensor& logits, const torch::Tensor& target) const {
    return nearest(target, logits.size(creditlib::detail::class_dimension(logits.dim())));
  }
};

struct LateBinaryCrossEntropy : BinaryCrossEntropy {
  torch::Tensor in_range(const torch::Tensor&, const torch::Tensor& target) const { return nearest(target); }
};

struct LocalWithLate : LocalTrainer<ResidualMLP, DFA, Always, RowRms, InnerProduct, LateCrossEntropy> {
  LocalWithLate(ResidualMLP model, const TrainerOptions& options)
      : LocalTrainer(std::move(model), DFA{}, options, {}, {}, {}, LateCrossEntropy{}) {}
};
struct BackpropWithLate : BackpropTrainer<ResidualMLP, LateCrossEntropy> {
  BackpropWithLate(ResidualMLP model, const TrainerOptions& options)
      : BackpropTrainer(std::move(model), options, LateCrossEntropy{}) {}
};

}  // namespace creditlib::test
