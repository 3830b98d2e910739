// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/distributed/detail/agreement.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <creditlib/parameter_parts.hpp>
#include <creditlib/trainer/gradient_sums.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// Why a rule cannot be trained in several processes; empty if it can. One that says nothing of it can if its credit is
/// computed from the rows alone and changes nothing.
template <class State, class Model>
constexpr const char* what_ties_to_one_process() {
  if constexpr (IsDataParallel<State>) {
    return "";
  } else if constexpr (CouplesSamples<State>) {
    return "couples the samples of a batch (couples_samples), of which each process has its own";
  } else if constexpr (Learns<State, Model>) {
    return "learns from the rows that it sees";
  } else if constexpr (SeesUpdates<State, Model>) {
    return "changes with the updates (after_step)";
  } else if constexpr (HasLocalInputs<State, Model>) {
    return "trains at states of its own (local_inputs)";
  } else if constexpr (!GivesCreditConst<State, Model>) {
    return "changes when it gives credit (credit is not const)";
  } else if constexpr (DeclaresDataParallel<State>) {
    return "says so (data_parallel = false)";
  } else {
    return "";
  }
}

/// What the processes of a group do together when each trains on rows of its own. Does nothing, and sends nothing,
/// without a group or in a group of one.
class DataParallel {
 public:
  explicit DataParallel(std::shared_ptr<distributed::Group> group)
      : group_(group && group->size() > 1 ? std::move(group) : nullptr) {}

  explicit operator bool() const { return group_ != nullptr; }
  /// The processes, for those who ask for what they do alone too.
  std::shared_ptr<distributed::Group> group() const { return group_ ? group_ : distributed::alone(); }

  /// Throws the same Error on all ranks unless all have these facts and tensors.
  void agree(const std::string& who, Facts facts, const NamedTensors& tensors) const {
    if (!group_) return;
    add_facts(facts, tensors);
    require_agreement(*group_, who, facts);
  }

  /// Gives all ranks the tensors of rank 0.
  void share(std::vector<torch::Tensor> tensors) const {
    std::erase_if(tensors, [](const torch::Tensor& tensor) { return !tensor.defined(); });
    if (group_ && !tensors.empty()) group_->broadcast(tensors, 0);
  }

  /// For one backward pass over this rank's `samples` rows, which `goes_up` from block to block or down.
  GradientSums gradient_sums(const ParameterParts& parts, bool goes_up, std::int64_t samples) const {
    if (!group_) return {};
    return GradientSums(*group_, parts, goes_up, samples);
  }

 private:
  std::shared_ptr<distributed::Group> group_;
};

}  // namespace creditlib::detail
