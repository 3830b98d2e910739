// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>

namespace creditlib::distributed {
class Group;  // creditlib/distributed/group.hpp
}

namespace creditlib::data {

/// How Batches makes batches.
struct BatchOptions {
  std::int64_t batch_size = 128;
  bool shuffle = true;     ///< a new order every epoch
  bool augment = false;    ///< random crop with padding 4 and horizontal flip, see crop_and_flip; for a Dataset
  bool flatten = false;    ///< one row per sample: (B, C H W) instead of (B, C, H, W)
  bool drop_last = false;  ///< leave out a last batch that is not full
  bool prefetch = false;   ///< on the CPU, make the next batch on another thread meanwhile; the batches are the same
  std::int64_t seed = 42;
  std::optional<torch::Dtype> dtype = std::nullopt;  ///< of a Dataset's normalized images: float32 (default) or float64
  /// The processes among which each batch is shared out (docs/distributed.md): batch_size is of all of them, and each
  /// gets rows of its own. None or distributed::alone(): this process has all rows.
  std::shared_ptr<distributed::Group> group = nullptr;
};

/// One batch, for `auto& [x, y]`.
///
/// - Of a Dataset: normalized images (B, C, H, W) and their labels (B), int64.
/// - Of Tensors: rows of the inputs (B, ...) and of the targets (B, ...), in their own dtypes.
struct Batch {
  torch::Tensor input, target;
};

}  // namespace creditlib::data
