// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/expect.hpp>
#include <creditlib/optim/adamw.hpp>
#include <creditlib/trained_parameter.hpp>
#include <vector>

namespace creditlib::optimizer {

/// AdamW, the optimizer of a trainer that is given none: Adam with decoupled weight decay (Loshchilov and Hutter 2019).
/// lr and weight decay are those of TrainerOptions.
struct AdamW {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;

  optim::AdamW bind(const std::vector<TrainedParameter>& parameters) const {
    namespace expect = detail::expect;
    const auto from_0_below_1 = [](const char* option, double value) {
      expect::that(value >= 0 && value < 1, "optimizer::AdamW", option, value, "a number >= 0 and < 1");
    };
    from_0_below_1("beta1", beta1);
    from_0_below_1("beta2", beta2);
    expect::not_negative("optimizer::AdamW", "eps", eps);
    return {parameters, {.beta1 = beta1, .beta2 = beta2, .eps = eps}};
  }
};

}  // namespace creditlib::optimizer
