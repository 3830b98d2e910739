#pragma once

#include <torch/types.h>

namespace creditlib {

/// Credit as the source gave it.
struct Raw {
  torch::Tensor operator()(torch::Tensor a) const { return a; }
};

}  // namespace creditlib
