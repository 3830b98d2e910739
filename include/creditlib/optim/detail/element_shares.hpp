// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/team.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace creditlib::detail {

/// The elements of a list of tensors that fill their memory, in shares of one size, for threads of which each runs a
/// kernel on lists. Tensors are cut where a share ends, in the order of their memory. There is no empty share.
class ElementShares {
 public:
  /// On the CPU as many shares as threads can help; elsewhere one.
  explicit ElementShares(const std::vector<torch::Tensor>& tensors) {
    std::int64_t all = 0;
    for (const auto& tensor : tensors) all += tensor.numel();
    const bool on_cpu = !tensors.empty() && tensors.front().is_cpu();
    const auto count = on_cpu ? std::clamp<std::int64_t>(all / fewest, 1, team_size()) : 1;
    const auto size = std::max<std::int64_t>(1, (all + count - 1) / count);
    std::int64_t taken = size;  // of the present share; none has begun
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto numel = tensors[i].numel();
      for (std::int64_t first = 0; first < numel;) {
        if (taken >= size) {
          shares_.emplace_back();
          taken = 0;
        }
        const auto rest = numel - first;
        const auto length = std::min(rest, size - taken);
        shares_.back().push_back({i, first, length, length == numel});
        taken += length;
        first += length;
      }
    }
  }

  std::int64_t count() const { return static_cast<std::int64_t>(shares_.size()); }

  /// A share of these tensors, which have the sizes and the layout of the list's.
  std::vector<torch::Tensor> of(const std::vector<torch::Tensor>& alike, std::int64_t share) const {
    std::vector<torch::Tensor> pieces;
    for (const auto& piece : shares_[static_cast<std::size_t>(share)]) {
      const auto& tensor = alike[piece.tensor];
      pieces.push_back(
          piece.whole ? tensor : tensor.detach().as_strided({piece.count}, {1}, tensor.storage_offset() + piece.first));
    }
    return pieces;
  }
  /// For each piece of a share, what belongs to its tensor.
  std::vector<torch::Tensor> whole(const std::vector<torch::Tensor>& one_per_tensor, std::int64_t share) const {
    std::vector<torch::Tensor> each;
    for (const auto& piece : shares_[static_cast<std::size_t>(share)]) each.push_back(one_per_tensor[piece.tensor]);
    return each;
  }

 private:
  static constexpr std::int64_t fewest = 65536;  ///< elements, of which an optimizer updates some thousands in 1 µs

  struct Piece {
    std::size_t tensor;
    std::int64_t first, count;
    bool whole;
  };
  std::vector<std::vector<Piece>> shares_;
};

}  // namespace creditlib::detail
