// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/data/batches.hpp>
#include <creditlib/io/event_file.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace support {

class Trainer;
struct TrainingLog;

/// What --tensorboard writes while a run trains: event files for TensorBoard and, beside them, metrics.jsonl, an object
/// an epoch. Both are in a folder of the run's title.
class EpochRecords {
 public:
  /// Nothing is written if `folder` is empty. Of the metrics that are there, those of the first `epochs` are kept: the
  /// run goes on after them. Throws Error if the folder cannot be written to.
  EpochRecords(const std::string& folder, const std::string& title, std::int64_t epochs);

  /// The last epoch of the log; `rate` is its learning rate. Gamma is measured on `eval_batch`, if there is one, in eval
  /// mode.
  void add(Trainer& trainer, const TrainingLog& log, std::int64_t epoch, double rate,
           const creditlib::data::Batch& eval_batch);

 private:
  std::filesystem::path metrics_;
  std::string lines_;
  std::unique_ptr<creditlib::io::EventFile> events_;
};

}  // namespace support
