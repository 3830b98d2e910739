// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
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

  /// Steps that were added.
  std::int64_t steps() const { return static_cast<std::int64_t>(samples_.size()); }

  /// What was added, for a checkpoint within the epoch. Waits for the device.
  nlohmann::ordered_json json() const {
    const auto numbers = [&](const torch::Tensor& all) {
      const auto some = all.narrow(0, 0, steps()).cpu().contiguous();
      return std::vector<double>(some.data_ptr<double>(), some.data_ptr<double>() + steps());
    };
    return {{"losses", numbers(losses_)}, {"correct", numbers(correct_)}, {"samples", samples_}};
  }
  /// Takes what json() gave; a loss that was not finite is null there.
  void load(const nlohmann::ordered_json& json) {
    samples_ = json.at("samples").get<std::vector<double>>();
    const auto put = [&](torch::Tensor& into, const nlohmann::ordered_json& from) {
      auto numbers = torch::zeros_like(into, torch::TensorOptions(torch::kCPU));
      for (std::size_t i = 0; i < from.size(); ++i)
        numbers.data_ptr<double>()[i] = from[i].is_number() ? from[i].get<double>() : std::nan("");
      into.copy_(numbers);
    };
    put(losses_, json.at("losses"));
    put(correct_, json.at("correct"));
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
