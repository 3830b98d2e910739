// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <chrono>
#include <creditlib/error.hpp>
#include <cstdint>
#include <functional>
#include <utility>

namespace creditlib::detail {

/// What a trainer calls after some of its steps, and the time that takes.
template <class Trainer>
class Observer {
 public:
  using Look = std::function<void(Trainer&, const torch::Tensor&, const torch::Tensor&)>;

  void set(std::int64_t every, Look look) {
    if (every < 1) fail("observe: the interval is ", every, " steps, expected at least 1.");
    every_ = every;
    look_ = std::move(look);
  }

  void after_step(Trainer& trainer, const torch::Tensor& x, const torch::Tensor& y) {
    if (!look_ || trainer.steps() % every_ != 0) return;
    const auto start = std::chrono::steady_clock::now();
    look_(trainer, x, y);
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  double seconds() const { return seconds_; }

 private:
  std::int64_t every_ = 1;
  Look look_;
  double seconds_ = 0;
};

}  // namespace creditlib::detail
