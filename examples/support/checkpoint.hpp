// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <creditlib/named_tensors.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "support/trainer.hpp"

namespace support {

/// Where a run keeps its state between two epochs, so that it can go on after it was stopped.
struct CheckpointPlan {
  std::filesystem::path path = {};       ///< "….pt"; a ".json" of the same name stands beside it. Empty: none is kept
  nlohmann::ordered_json settings = {};  ///< what the run depends on: under others it is not gone on with
  nlohmann::ordered_json* record = nullptr;  ///< what the program collects as it trains: kept, and put back
  bool retrain = false;                      ///< forget what an earlier run left
};

/// A run's state in two files: the trainer's own checkpoint, and as JSON what is not the trainer's. After the run's end
/// both are removed.
///
/// What is not in it is LibTorch's global generator. Nothing draws from that while a program of examples/ trains:
/// batches, credit sources and diagnostics have generators of their own, and no network here has Dropout.
class Checkpoint {
 public:
  explicit Checkpoint(CheckpointPlan plan);

  /// What goes with the trainer's own state.
  struct State {
    nlohmann::ordered_json progress = {};     ///< what has been measured so far
    creditlib::NamedTensors generators = {};  ///< the states of what draws beside the trainer
  };

  /// Takes the trainer to where an earlier run left it and returns the rest; nothing where none did.
  ///
  /// Throws Error for a checkpoint of other settings, and for files that are damaged or do not belong together.
  std::optional<State> load(Trainer& trainer);

  /// Writes the state at the end of an epoch; not after each where epochs are so short that it would take more than a
  /// twentieth of the time.
  void save(const Trainer& trainer, const State& state);

  void remove() const;

 private:
  std::optional<State> read(Trainer& trainer);

  using Clock = std::chrono::steady_clock;

  CheckpointPlan plan_;
  std::filesystem::path beside_;
  nlohmann::ordered_json last_;  ///< what the JSON says of the trainer's file as it is
  Clock::time_point saved_ = {};
  Clock::duration cost_ = {};
};

}  // namespace support
