// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/parameter_parts.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

/// Which process has which blocks of a network, and what belongs to them.
namespace creditlib::detail {

/// One process' blocks, begin..end-1, with the embed below the first and the readout above the last.
struct BlockSlice {
  std::int64_t begin = 0, end = 0;
  bool embeds = true, reads_out = true;
};

/// How many blocks each of `ranks` processes has, so that the largest sum of a process' sizes is as small as it can be.
/// There are at least as many sizes as ranks.
inline std::vector<std::int64_t> even_split(const std::vector<std::int64_t>& sizes, std::int64_t ranks) {
  const auto blocks = static_cast<std::int64_t>(sizes.size());
  /// From below, as many blocks for each rank as `most` allows, and one at least for each of the others.
  const auto filled = [&](std::int64_t most) {
    std::vector<std::int64_t> counts;
    std::int64_t next = 0;
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      std::int64_t count = 0, sum = 0;
      while (next < blocks - (ranks - rank - 1)) {
        sum += sizes[static_cast<std::size_t>(next)];
        if (count > 0 && sum > most) break;
        ++count;
        ++next;
      }
      counts.push_back(count);
    }
    return next == blocks ? std::optional(counts) : std::nullopt;
  };
  auto least = *std::max_element(sizes.begin(), sizes.end());
  auto enough = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
  while (least < enough) {
    const auto middle = least + (enough - least) / 2;
    if (filled(middle)) {
      enough = middle;
    } else {
      least = middle + 1;
    }
  }
  return *filled(enough);
}

/// The blocks of all processes, and which of a network's tensors are whose.
class BlockSplit {
 public:
  /// `counts` says how many blocks each rank has; if it is empty they are split evenly by their number of parameters, the
  /// embed's and the readout's included. Throws Error if it does not fit, or parameters are shared across ranks.
  template <BlockModel Model>
  BlockSplit(Model& model, const ParameterParts& parts, std::vector<std::int64_t> counts, std::int64_t ranks) {
    const std::int64_t blocks = model->blocks();
    if (blocks < ranks) {
      fail("BlockTrainer: there are ", ranks, " processes for ", blocks, " block", blocks == 1 ? "" : "s",
           "; each needs one at least, so start at most ", blocks, ", or give the model more blocks.");
    }
    if (counts.empty()) counts = even_split(sizes_of_blocks(parts), ranks);
    check(counts, blocks, ranks);
    std::int64_t begin = 0;
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      const auto end = begin + counts[static_cast<std::size_t>(rank)];
      slices_.push_back({begin, end, rank == 0, rank == ranks - 1});
      begin = end;
    }
    find_owners(model, parts);
    find_owners_of_buffers(model, parts);
  }

  const BlockSlice& slice(std::int64_t rank) const { return slices_[static_cast<std::size_t>(rank)]; }
  std::int64_t ranks() const { return static_cast<std::int64_t>(slices_.size()); }
  /// The rank that has parameter i, in the order of distinct_parameters.
  std::int64_t owner(std::size_t i) const { return owners_[i]; }

  /// The rank whose tensor a checkpoint keeps under this name; none for what all have alike. An optimizer's state of
  /// parameter i is named "….i".
  std::optional<std::int64_t> owner(const std::string& name) const {
    if (!name.starts_with("optimizer.")) {
      const auto found = owners_by_name_.find(name);
      return found == owners_by_name_.end() ? std::nullopt : std::optional(found->second);
    }
    const auto digits = name.substr(name.rfind('.') + 1);
    const bool number = !digits.empty() && digits.size() < 10 &&
                        std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
    const auto i = number ? static_cast<std::size_t>(std::stol(digits)) : owners_.size();
    return i < owners_.size() ? std::optional(owners_[i]) : std::nullopt;
  }

  /// The rank that trains h_l: that of block l - 1, or rank 0, which has the embed.
  std::int64_t owner_of_state(std::int64_t l) const {
    std::int64_t rank = 0;
    while (slice(rank).end < l) ++rank;
    return rank;
  }

  /// The credit source's tensors: `of_states[l]` belong to h_l, and so to the rank that trains it. Throws Error for one
  /// that belongs to states of two ranks. `named` are those that a checkpoint keeps.
  void claim(const NamedTensors& named, const std::vector<std::vector<torch::Tensor>>& of_states) {
    std::map<const void*, std::size_t> states;
    for (std::size_t l = 0; l < of_states.size(); ++l) {
      for (const auto& tensor : of_states[l]) {
        if (!tensor.defined()) continue;
        const auto first = states.emplace(tensor.unsafeGetTensorImpl(), l).first->second;
        const auto below = owner_of_state(static_cast<std::int64_t>(first));
        const auto above = owner_of_state(static_cast<std::int64_t>(l));
        if (below == above) continue;
        fail("BlockTrainer: ", name_in(named, tensor), " of the credit source belongs to h_", first, " on rank ", below,
             " and to h_", l, " on rank ", above,
             ", which would train it apart; put their blocks on one rank with BlockOptions::blocks, or do not share "
             "it.");
      }
    }
    for (const auto& [name, tensor] : named) {
      const auto found = states.find(tensor.unsafeGetTensorImpl());
      if (found == states.end()) continue;
      owners_by_name_[name] = owner_of_state(static_cast<std::int64_t>(found->second));
    }
  }

  /// "2 + 1 + 1".
  std::string text() const {
    std::string text;
    for (const auto& slice : slices_) text += (text.empty() ? "" : " + ") + std::to_string(slice.end - slice.begin);
    return text;
  }

 private:
  static std::vector<std::int64_t> sizes_of_blocks(const ParameterParts& parts) {
    const auto size = [&](const std::vector<std::size_t>& positions) {
      std::int64_t numbers = 0;
      for (const auto i : positions) numbers += parts.all[i].numel();
      return numbers;
    };
    std::vector<std::int64_t> sizes;
    for (const auto& block : parts.blocks) sizes.push_back(size(block));
    sizes.front() += size(parts.embed);
    sizes.back() += size(parts.readout);
    return sizes;
  }

  static void check(const std::vector<std::int64_t>& counts, std::int64_t blocks, std::int64_t ranks) {
    const bool each = std::ranges::all_of(counts, [](std::int64_t count) { return count >= 1; });
    const auto sum = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
    if (each && sum == blocks && static_cast<std::int64_t>(counts.size()) == ranks) return;
    fail("BlockOptions: blocks is ", shape_text(counts), ", expected how many blocks each of the ", ranks,
         " processes has, from rank 0 on: at least 1 each, and ", blocks, " in all.");
  }

  static std::string name_in(const NamedTensors& named, const torch::Tensor& tensor) {
    const auto found = std::ranges::find_if(named, [&](const auto& entry) { return entry.second.is_same(tensor); });
    return found == named.end() ? "a tensor" : found->first;
  }

  template <BlockModel Model>
  void find_owners(Model& model, const ParameterParts& parts) {
    std::map<const void*, std::size_t> position;
    for (std::size_t i = 0; i < parts.all.size(); ++i) position[parts.all[i].unsafeGetTensorImpl()] = i;
    owners_.assign(parts.all.size(), -1);
    const auto claim = [&](std::int64_t rank, const std::vector<torch::Tensor>& parameters) {
      for (const auto& parameter : parameters) {
        const auto i = position.at(parameter.unsafeGetTensorImpl());
        if (owners_[i] >= 0 && owners_[i] != rank) {
          fail("BlockTrainer: parameter ", parts.names[i], " is shared by parts of the network on ranks ", owners_[i],
               " and ", rank,
               ", which would train it apart; put them on one rank with BlockOptions::blocks, or do not ", "share it.");
        }
        owners_[i] = rank;
      }
    };
    claim(0, model->embed_parameters());
    for (std::int64_t rank = 0; rank < ranks(); ++rank) {
      for (auto l = slice(rank).begin; l < slice(rank).end; ++l) claim(rank, model->block_parameters(l));
    }
    claim(ranks() - 1, model->readout_parameters());
    for (std::size_t i = 0; i < parts.all.size(); ++i) owners_by_name_["model." + parts.names[i]] = owners_[i];
  }

  /// A buffer is of the rank that has all parameters of the smallest module around it that has any; rank 0's if there is
  /// none but the whole network.
  template <BlockModel Model>
  void find_owners_of_buffers(Model& model, const ParameterParts& parts) {
    for (const auto& buffer : model->named_buffers()) {
      std::set<std::int64_t> ranks;
      auto module = buffer.key();
      while (ranks.empty()) {
        const auto dot = module.rfind('.');
        if (dot == std::string::npos) break;
        module.resize(dot);
        for (std::size_t i = 0; i < parts.all.size(); ++i) {
          if (parts.names[i].starts_with(module + ".")) ranks.insert(owners_[i]);
        }
      }
      owners_by_name_.emplace("model." + buffer.key(), ranks.size() == 1 ? *ranks.begin() : 0);
    }
  }

  std::vector<BlockSlice> slices_;
  std::vector<std::int64_t> owners_;
  std::map<std::string, std::int64_t> owners_by_name_;  ///< of parameters, buffers and the credit source's tensors
};

}  // namespace creditlib::detail
