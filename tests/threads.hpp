// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "test.hpp"

namespace creditlib::test {

/// LibTorch's number of threads, for as long as this lives. It may exceed the number of cores.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

}  // namespace creditlib::test
