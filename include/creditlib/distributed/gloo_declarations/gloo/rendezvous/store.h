// SPDX-License-Identifier: Apache-2.0
#pragma once

// Stands in for gloo's header of this name, which torch's wheels lack, so that ProcessGroupGloo.hpp compiles. Nothing here
// is ever made or called by creditlib. Gloo's own header is taken if there is one (-idirafter).

#include <gloo/algorithm.h>

#include <chrono>
#include <string>
#include <vector>

namespace gloo::rendezvous {

class Store {
 public:
  virtual ~Store();
  virtual void set(const std::string& key, const std::vector<char>& data) = 0;
  virtual std::vector<char> get(const std::string& key) = 0;
  virtual void wait(const std::vector<std::string>& keys) = 0;
  virtual void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) = 0;
};

}  // namespace gloo::rendezvous
