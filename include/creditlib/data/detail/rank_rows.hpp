// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/data/batch.hpp>
#include <creditlib/distributed/detail/agreement.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace creditlib::detail {

/// Rows that lie one after the other.
struct RowRange {
  std::int64_t begin = 0, count = 0;
};

/// Which of a batch's rows are this process'; in equal parts, the first processes with one more.
inline RowRange own_rows(std::int64_t rows, const distributed::Group& group) {
  const auto rank = group.rank(), each = rows / group.size(), more = rows % group.size();
  return {rank * each + std::min(rank, more), each + (rank < more ? 1 : 0)};
}

/// Which of an epoch's samples are this process': all, or of each batch its share.
class RankRows {
 public:
  RankRows() = default;
  /// Throws Error if some batch has fewer samples than there are processes.
  RankRows(const data::BatchOptions& options, std::int64_t samples) : batch_(options.batch_size), samples_(samples) {
    if (!options.group || options.group->size() == 1) return;
    const auto size = options.group->size();
    const auto whole = batch_, last = samples % whole;
    if (std::min(whole, samples) < size) {
      fail("Batches: a batch of ", std::min(whole, samples), " for ", size,
           " processes, of which each needs a sample: use a batch_size, and data, of ", size, " samples at least.");
    }
    if (last != 0 && last < size && !options.drop_last) {
      fail("Batches: the last batch of an epoch is ", last, " for ", size,
           " processes, of which each needs a sample: use another batch_size, or drop_last.");
    }
    std::vector<std::int64_t> own;
    for (std::int64_t first = 0; first < samples; first += whole) {
      const auto [begin, count] = own_rows(std::min(whole, samples - first), *options.group);
      for (std::int64_t row = 0; row < count; ++row) own.push_back(first + begin + row);
      if (first == 0) batch_ = count;
    }
    own_ = torch::tensor(own, torch::kInt64);
    samples_ = own_.size(0);
  }

  /// The largest number of this process' samples in a batch, and in an epoch.
  std::int64_t batch() const { return batch_; }
  std::int64_t samples() const { return samples_; }

  /// Of an epoch's draws (N) those of this process' samples.
  torch::Tensor of(const torch::Tensor& draws) const { return own_.defined() ? draws.index_select(0, own_) : draws; }

 private:
  std::int64_t batch_ = 0, samples_ = 0;
  torch::Tensor own_;  ///< places in the epoch's order; undefined if all are
};

/// Throws Error on all ranks unless they make the same batches of data with the same targets.
inline void require_same_batches(const data::BatchOptions& options, const std::string& name,
                                 const torch::Tensor& inputs, const torch::Tensor& targets) {
  if (!options.group || options.group->size() == 1) return;
  require_agreement(*options.group, "Batches",
                    {{"batch_size", c10::str(options.batch_size)},
                     {"shuffle", c10::str(options.shuffle)},
                     {"augment", c10::str(options.augment)},
                     {"flatten", c10::str(options.flatten)},
                     {"drop_last", c10::str(options.drop_last)},
                     {"seed", c10::str(options.seed)},
                     {"the data's name", name},
                     {"the shape of the inputs", kind_text(inputs)},
                     {"what the targets are", fact_of(targets)}});
}

}  // namespace creditlib::detail
