// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <optional>
#include <vector>

namespace support {

/// What the steps of an epoch return. On a device it is kept there until the epoch's end, with two kernels a step and
/// without waiting.
class EpochSums {
 public:
  EpochSums(std::int64_t steps, torch::Device device)
      : losses_(torch::zeros({steps}, torch::TensorOptions(torch::kFloat64).device(device))),
        correct_(torch::zeros({steps}, losses_.options())) {}

  /// Of the next step, on a batch of this many samples.
  void add(const creditlib::StepResult& result, std::int64_t samples) {
    const auto step = static_cast<std::int64_t>(samples_.size());
    losses_.select(0, step).copy_(result.loss, /*non_blocking=*/true);
    correct_.select(0, step).copy_(result.correct, /*non_blocking=*/true);
    samples_.push_back(static_cast<double>(samples));
  }

  struct Outcome {
    double loss = 0, correct = 0;                                 ///< sums over all samples
    std::optional<std::int64_t> first_not_finite = std::nullopt;  ///< the first step, counted from 0, whose loss is not
  };
  /// Waits for the device.
  Outcome outcome() const {
    const auto losses = losses_.cpu();
    Outcome outcome{.correct = correct_.sum().item<double>()};
    for (std::size_t i = 0; i < samples_.size(); ++i) {
      const double loss = losses.data_ptr<double>()[i];
      if (!std::isfinite(loss) && !outcome.first_not_finite) outcome.first_not_finite = static_cast<std::int64_t>(i);
      outcome.loss += loss * samples_[i];
    }
    return outcome;
  }

 private:
  torch::Tensor losses_, correct_;
  std::vector<double> samples_;
};

}  // namespace support
