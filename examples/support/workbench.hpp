// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/data/batches.hpp>
#include <creditlib/data/dataset.hpp>
#include <cstdint>
#include <string>

#include "support/checkpoint.hpp"
#include "support/flags.hpp"

namespace support {

/// The flags that every program has, beside those of its script.
struct RunFlags {
  std::string dataset = "cifar10", data_dir = {}, device = "auto";
  int gpu = 0;
  std::int64_t batch_size = 128, limit_train = 0;
  std::string matmul = "auto", threads = "auto";
  std::string tensorboard = {};
  CheckpointFlags checkpoints = {};
  bool allow_nonfinite = false, quiet = false, any_size = false, prefetch = false, cuda_graph = false, tf32 = false;
  bool no_augment = false;  ///< of train_methods
};

/// None of them is in the config unless the program records it.
void add_run_flags(Flags& flags, RunFlags& run);

/// Data on a device, as the flags say; making one sets LibTorch's threads and matrix products too.
class Workbench {
 public:
  explicit Workbench(const RunFlags& flags);

  const creditlib::data::Splits& splits() const { return splits_; }
  const std::string& device() const { return device_; }
  /// Whether training steps are to run in CUDA graphs.
  bool cuda_graph() const { return flags_.cuda_graph; }
  /// C * H * W of an image.
  std::int64_t input() const { return splits_.train.images[0].numel(); }
  std::int64_t classes() const { return splits_.train.classes; }
  std::int64_t batch_size() const { return flags_.batch_size; }

  /// Training batches, shuffled from `seed`, augmented where that is the data set's custom; (B, C * H * W) where
  /// `flat`.
  creditlib::data::Batches train_batches(std::int64_t seed, bool flat) const;
  /// The test set in order.
  creditlib::data::Batches test_batches(bool flat) const;
  /// The first n samples of the test set as one batch.
  creditlib::data::Batch first_test_samples(std::int64_t n, bool flat) const;

 private:
  RunFlags flags_;
  std::string device_;
  creditlib::data::Splits splits_;
};

}  // namespace support
