// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/expect.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/progress.hpp>
#include <cstdint>
#include <limits>

namespace creditlib::rate {

/// Multiplies the rate by `factor` when the value that trainer.report(value) is given, such as a validation loss, has
/// not improved for more than `patience` reports. The same as torch.optim's ReduceLROnPlateau, without its eps.
///
/// - An improvement is a value below best (1 - threshold); with `maximize`, above best (1 + threshold).
/// - After a reduction `cooldown` reports do not count. The factor does not fall below `least`.
/// - A value that is not a number is no improvement.
/// - Throws Error for invalid options when a trainer is made.
struct ReduceOnPlateau {
  double factor = 0.1;
  std::int64_t patience = 10;
  double threshold = 1e-4;
  std::int64_t cooldown = 0;
  double least = 0;
  bool maximize = false;

  struct State;
  State bind() const;
};

struct ReduceOnPlateau::State {
  ReduceOnPlateau options;
  /// The factor, the best value, the reports since it, and those of the cooldown that are left.
  torch::Tensor numbers;

  double operator()(const Progress&) const { return at(0); }

  void report(double value) {
    const double best = at(1);
    const bool better =
        options.maximize ? value > best * (1 + options.threshold) : value < best * (1 - options.threshold);
    if (better) {
      at(1) = value;
      at(2) = 0;
    } else {
      at(2) += 1;
    }
    if (at(3) > 0) {
      at(3) -= 1;
      at(2) = 0;
    }
    if (at(2) > static_cast<double>(options.patience)) {
      at(0) = std::max(at(0) * options.factor, options.least);
      at(2) = 0;
      at(3) = static_cast<double>(options.cooldown);
    }
  }

  NamedTensors named_tensors() const { return {{"plateau", numbers}}; }

  double& at(std::int64_t i) const { return numbers.mutable_data_ptr<double>()[i]; }
};

inline ReduceOnPlateau::State ReduceOnPlateau::bind() const {
  namespace expect = detail::expect;
  expect::between_0_and_1("rate::ReduceOnPlateau", "factor", factor);
  expect::at_least("rate::ReduceOnPlateau", "patience", patience, 0);
  expect::not_negative("rate::ReduceOnPlateau", "threshold", threshold);
  expect::at_least("rate::ReduceOnPlateau", "cooldown", cooldown, 0);
  expect::not_negative("rate::ReduceOnPlateau", "least", least);
  constexpr double infinity = std::numeric_limits<double>::infinity();
  return {*this, torch::tensor({1.0, maximize ? -infinity : infinity, 0.0, 0.0}, torch::kFloat64)};
}

}  // namespace creditlib::rate
