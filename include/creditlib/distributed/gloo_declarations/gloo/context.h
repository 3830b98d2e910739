// SPDX-License-Identifier: Apache-2.0
#pragma once

// Stands in for gloo's header of this name, which torch's wheels lack, so that ProcessGroupGloo.hpp compiles. Nothing here
// is ever made or called by creditlib. Gloo's own header is taken if there is one (-idirafter).

#include <gloo/algorithm.h>

#include <chrono>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

}  // namespace gloo
