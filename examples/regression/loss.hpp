// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/objective/smooth_l1.hpp>
#include <creditlib/objective/squared_error.hpp>

namespace regression {

/// SquaredError, or SmoothL1: chosen at run time, so that each rule is compiled once.
struct Loss {
  bool smooth_l1 = false;

  torch::Tensor loss(const torch::Tensor& outputs, const torch::Tensor& target) const {
    return smooth_l1 ? creditlib::SmoothL1{}.loss(outputs, target) : creditlib::SquaredError{}.loss(outputs, target);
  }
  torch::Tensor error(const torch::Tensor& outputs, const torch::Tensor& target) const {
    return smooth_l1 ? creditlib::SmoothL1{}.error(outputs, target) : creditlib::SquaredError{}.error(outputs, target);
  }
  void check(const torch::Tensor& outputs, const torch::Tensor& target) const {
    smooth_l1 ? creditlib::SmoothL1{}.check(outputs, target) : creditlib::SquaredError{}.check(outputs, target);
  }
};

}  // namespace regression
