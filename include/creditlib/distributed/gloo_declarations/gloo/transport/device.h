// SPDX-License-Identifier: Apache-2.0
#pragma once

// Stands in for gloo's header of this name, which torch's wheels lack, so that ProcessGroupGloo.hpp compiles. Nothing here
// is ever made or called by creditlib. Gloo's own header is taken if there is one (-idirafter).

#include <gloo/algorithm.h>

namespace gloo::transport {

class Device;

class UnboundBuffer {
 public:
  virtual ~UnboundBuffer();
};

}  // namespace gloo::transport
