// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/expect.hpp>
#include <creditlib/optim/sgd.hpp>
#include <creditlib/trained_parameter.hpp>
#include <vector>

namespace creditlib::optimizer {

/// Stochastic gradient descent with momentum; the weight decay is added to the gradient. lr and weight decay are those
/// of TrainerOptions.
struct SGD {
  double momentum = 0.9;

  optim::SGD bind(const std::vector<TrainedParameter>& parameters) const {
    detail::expect::not_negative("optimizer::SGD", "momentum", momentum);
    return {parameters, {.momentum = momentum}};
  }
};

}  // namespace creditlib::optimizer
