// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>

#include <creditlib/io/event_file.hpp>
#include <creditlib/statistics/measured.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/flags.hpp"

namespace support {

/// --tensorboard, the same in every program that trains.
void add_tensorboard_flag(Flags& flags, std::string& folder);

/// A number of an epoch: what TensorBoard calls it, its key in metrics.jsonl and in the lines of --log-format json.
struct EpochScalar {
  std::string tag, key;
  double value;
};
/// {"train_loss": 0.1, ...}; a value that is not finite is null in text.
nlohmann::ordered_json json_of(const std::vector<EpochScalar>& scalars);

/// What --tensorboard writes while a run trains: event files for TensorBoard and, beside them, metrics.jsonl, an object
/// an epoch. Both are in a folder of the run's title.
class EpochRecords {
 public:
  /// Nothing is written if `folder` is empty, nor by a process that does not lead. Of the metrics that are there, those of the first `epochs` are kept: the
  /// run goes on after them. Throws Error if the folder cannot be written to.
  EpochRecords(const std::string& folder, const std::string& title, std::int64_t epochs);

  explicit operator bool() const { return events_ != nullptr; }

  /// An epoch's numbers, and histograms of the module's parameters if there is one. `epoch` and `step` count from 1.
  void add(std::int64_t epoch, std::int64_t step, const std::vector<EpochScalar>& scalars,
           const torch::nn::Module* module, const std::vector<creditlib::diagnostics::Measured>& gamma = {});

 private:
  std::filesystem::path metrics_;
  std::string lines_;
  std::unique_ptr<creditlib::io::EventFile> events_;
};

}  // namespace support
