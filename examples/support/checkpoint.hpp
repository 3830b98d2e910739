// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <compare>
#include <creditlib/named_tensors.hpp>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "support/flags.hpp"
#include "support/trainer.hpp"

namespace support {

/// --checkpoint-every and --keep-checkpoints.
struct CheckpointFlags {
  std::int64_t every = 0;  ///< epochs; 0: after each, but not so often that it takes more than a twentieth of the time
  std::int64_t keep = 1;   ///< the newest so many
};
void add_checkpoint_flags(Flags& flags, CheckpointFlags& checkpoints);

/// Where a run keeps its state, so that it can go on after it was stopped.
struct CheckpointPlan {
  std::filesystem::path path =
      {};  ///< "NAME.pt", of which files are NAME.epochE.stepS.pt and .json. Empty: none is kept
  nlohmann::ordered_json settings = {};      ///< what the run depends on: under others it is not gone on with
  nlohmann::ordered_json* record = nullptr;  ///< what the program collects as it trains: kept, and put back
  bool retrain = false;                      ///< forget what an earlier run left
  CheckpointFlags flags = {};
};

/// A run's states, each in two files: the trainer's own checkpoint, and as JSON what is not the trainer's, with the
/// checksum of the first; without the second, which is written last, there is no state. After the run's end all are
/// removed. Of several processes of one run the first writes and removes, and all read: they see one folder.
///
/// What is not in it is LibTorch's global generator. Nothing depends on its state while a program of examples/ trains:
/// batches, credit sources and diagnostics have generators of their own, no network here has Dropout, and toy_lq seeds it
/// anew for each batch.
class Checkpoint {
 public:
  explicit Checkpoint(CheckpointPlan plan) : plan_(std::move(plan)) {}

  /// Where a run is.
  struct Position {
    std::int64_t epoch, step;  ///< how many are done
    auto operator<=>(const Position&) const = default;
  };

  /// What goes with the trainer's own state.
  struct State {
    nlohmann::ordered_json progress = {};     ///< what has been measured so far
    creditlib::NamedTensors generators = {};  ///< the states of what draws beside the trainer
    nlohmann::ordered_json in_epoch = {};     ///< what an epoch that has begun has so far; null between epochs
    /// Of a run whose epochs and steps are not those of its trainer, which counts no learn(). Set by load().
    std::optional<Position> at = std::nullopt;
  };

  /// Takes the trainer to where an earlier run left it and returns the rest; nothing where none did. A damaged checkpoint
  /// is named on standard error, and the one before it is used.
  ///
  /// Throws Error for a checkpoint of other settings or of a newer format, and if all that there are, are damaged.
  std::optional<State> load(Trainer& trainer);

  /// Writes the state at the end of an epoch, if the flags want one there, and removes those that are too many.
  void save(const Trainer& trainer, const State& state);

  /// Writes the state at the end of a step and throws Interrupted, which says how to go on.
  [[noreturn]] void stop(const Trainer& trainer, const State& state);

  void remove() const;

 private:
  using Clock = std::chrono::steady_clock;

  void write(const Trainer& trainer, const State& state, Position at);

  CheckpointPlan plan_;
  std::string written_;  ///< the newest state's name, if this run knows it
  Clock::time_point saved_ = {};
  Clock::duration cost_ = {};
};

}  // namespace support
