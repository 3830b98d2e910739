#pragma once

#include <torch/types.h>

#include <creditlib/factored_credit.hpp>

namespace creditlib {

/// Credit as the source gave it.
struct Raw {
  torch::Tensor operator()(torch::Tensor a) const { return a; }
  FactoredCredit factored(const FactoredCredit& a) const { return a; }
};

}  // namespace creditlib
