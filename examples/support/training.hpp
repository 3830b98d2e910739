#pragma once

#include <creditlib/data/batches.hpp>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/any_trainer.hpp"

namespace support {

/// What a run has to show, an entry an epoch.
struct TrainingLog {
  std::vector<double> train_loss, train_acc, test_acc;
  std::vector<double> ms_per_step;  ///< of the training loop, batches included, evaluation not
};

/// Accuracy of the trainer's model in eval mode; the mode it was in is restored.
double accuracy(AnyTrainer& trainer, creditlib::data::Batches& batches);

struct TrainingPlan {
  std::string title;             ///< what progress lines begin with, such as "dfa, seed 42"
  bool quiet = false;
  bool allow_nonfinite = false;  ///< go on when the loss is not finite
};

/// Trains to the last epoch of the trainer's options; `after_epoch` is called with the log so far. Shows progress: a line that
/// renews itself on a terminal, and a line an epoch. Throws Interrupted at the end of a step after Ctrl-C, and Error when
/// the loss is not finite, with epoch, step and the first part of the network that is not: found at once on the CPU, at the
/// epoch's end on CUDA, where no step waits for the device.
void train(AnyTrainer& trainer, creditlib::data::Batches& batches, creditlib::data::Batches& test, const TrainingPlan& plan,
           const std::function<void(const TrainingLog&)>& after_epoch);

/// Library, commit, LibTorch, processor, threads and device: what a figure needs beside it.
nlohmann::ordered_json environment(const std::string& device);

}  // namespace support
