// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "support/trainer.hpp"

/// Networks of one hidden layer of sigmoids, trained with plain SGD and with one tensor or another in the place of the
/// weights on the way down.
namespace weight_transport {

struct Method {
  const char* name;
  const char* what;
  double lr;  ///< the published one; back-propagation's if there is none
};

const std::vector<Method>& methods();
std::vector<std::string> method_names();
/// "bp (back-propagation), ...": for --help.
std::string methods_text();

struct MakeOptions {
  std::int64_t input, width, classes;
  std::int64_t epochs = 1, seed = 42;
  std::int64_t mirrorings = 0;  ///< wm: rounds of mirroring before the first step
  double lr = 0;                ///< 0: the method's
  double decay = 0;             ///< of the weights and of Kolen and Pollack's feedback, per step
};

/// A trainer on a network of its own.
struct Made {
  support::Trainer trainer;
  /// What stands in the place of each weight on the way down, in the order of the model's parameters: undefined for
  /// biases; empty for back-propagation.
  std::function<std::vector<torch::Tensor>(support::Trainer&)> feedback;
};

/// The trainer of the method of that name. Weights, biases and feedback are drawn from the seed with a variance of 1 /
/// (inputs + outputs of the layer).
Made make(const std::string& method, const MakeOptions& options);

}  // namespace weight_transport
