// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace creditlib {

/// What a rule of direct feedback sends down from the output: a tensor of the error's shape.
enum class Signal {
  Error,   ///< e, the error dloss_i/dlogits
  Sign,    ///< its signs, -1, 0 or 1
  Target,  ///< minus the target, and nothing of the logits: -onehot(y), or -y for a distribution over the classes
};

}  // namespace creditlib
