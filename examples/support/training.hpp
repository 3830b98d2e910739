// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/data/batches.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/checkpoint.hpp"
#include "support/trainer.hpp"

namespace support {

/// A change of a schedule's weights between two epochs, with the alignment of the credit on both sides of it, block by
/// block.
struct Transition {
  std::int64_t epoch;  ///< the first with the new weights, from 1
  std::vector<double> from, to;
  std::vector<creditlib::diagnostics::Measured> gamma_before, gamma_after;
};

/// What a run has to show, an entry an epoch.
struct TrainingLog {
  std::vector<double> train_loss, train_acc, test_acc;
  std::vector<double> ms_per_step;  ///< of the training loop, batches included, evaluation not
  std::vector<Transition> transitions;
  std::int64_t threads = 0;  ///< of LibTorch, which the run keeps when it goes on
};

nlohmann::ordered_json transitions_json(const TrainingLog& log);

/// Accuracy of the trainer's model in eval mode; the mode it was in is restored.
double accuracy(Trainer& trainer, creditlib::data::Batches& batches);

/// The samples of a batch in all processes; steps count from 0 in each epoch.
std::int64_t samples_of(const creditlib::data::Batches& batches, std::int64_t step);

struct TrainingPlan {
  std::string title;  ///< what progress lines begin with, such as "dfa, seed 42"
  bool quiet = false;
  bool allow_nonfinite = false;  ///< go on when the loss is not finite
  std::string tensorboard = {};  ///< a folder for event files and metrics.jsonl; none if empty
  /// A control: labels drawn anew for every batch, from a generator with this seed, in place of the true ones.
  std::optional<std::uint64_t> random_labels = std::nullopt;
  creditlib::data::Batch eval_batch = {};  ///< on which transitions of a schedule are measured, in eval mode
  CheckpointPlan checkpoint = {};
};

/// Trains to the last epoch of the trainer's options, from the first or from where the plan's checkpoint was left: with
/// one thread and the same --matmul such a run is the uninterrupted one, to the bit (but for its times). `after_epoch`
/// is called with the log so far and the number of the epoch, from 1, while its schedule and rate are still those of
/// the epoch. Shows progress: a line that renews itself on a terminal, and a line an epoch. Throws Interrupted at the
/// end of a step after Ctrl-C, with a checkpoint of that step written, and Error when the loss is not finite, with epoch, step and the first part of the
/// network that is not: found at once on the CPU, at the epoch's end on CUDA, where no step waits for the device.
void train(Trainer& trainer, creditlib::data::Batches& batches, creditlib::data::Batches& test,
           const TrainingPlan& plan, const std::function<void(const TrainingLog&, std::int64_t)>& after_epoch);

/// Gamma of the trainer's raw credit at the output of each block, in the model's present mode.
std::vector<creditlib::diagnostics::Measured> gamma_at_outputs(Trainer& trainer, const creditlib::data::Batch& batch);

/// Library, commit, LibTorch, processor, threads and device: what a figure needs beside it.
nlohmann::ordered_json environment(const std::string& device);

}  // namespace support
