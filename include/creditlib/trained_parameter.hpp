// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

namespace creditlib {

/// A parameter as an optimizer gets it from a trainer.
struct TrainedParameter {
  torch::Tensor parameter;  ///< shared with the model; a step finds its gradient in parameter.grad()
  double lr = 1e-3;         ///< before the rate's factor
  double weight_decay = 0.01;
};

}  // namespace creditlib
