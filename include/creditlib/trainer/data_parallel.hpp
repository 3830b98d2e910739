// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/joint_mean.hpp>
#include <creditlib/distributed/detail/agreement.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <creditlib/pass/output_gradients.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstddef>
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
    return "couples the samples of a batch";
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

  /// From what this rank's `samples` rows give, what the rows of all ranks together do: the mean gradients, and the
  /// result's mean loss and sum of correct ones. One message. Of gradients in `factors`, whose left ones are the same on
  /// all ranks, the right ones are summed: exactly the dense sum, in fewer numbers.
  void join(std::vector<torch::Tensor>& gradients, const std::vector<FactoredGradient>& factors, StepResult& result,
            const std::vector<torch::Tensor>& parameters, std::int64_t samples) const {
    if (!group_) return;
    const torch::NoGradGuard no_grad;
    const auto is_factored = [&](std::size_t i) { return !factors.empty() && factors[i].defined(); };
    std::vector<std::size_t> trained;
    std::vector<torch::Tensor> means, like;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!parameters[i].requires_grad()) continue;
      trained.push_back(i);
      means.push_back(is_factored(i) ? factors[i].right : gradients[i]);
      like.push_back(is_factored(i) ? factors[i].right : parameters[i]);
    }
    std::vector<torch::Tensor> totals{result.loss * static_cast<double>(samples), result.correct};

    const auto all = joint_mean(*group_, means, like, samples, totals, parameters[0].options());

    for (std::size_t i = 0; i < trained.size(); ++i) {
      const auto& parameter = parameters[trained[i]];
      auto& gradient = gradients[trained[i]];
      if (!means[i].defined()) {
        gradient.reset();
      } else if (is_factored(trained[i])) {
        gradient = FactoredGradient{factors[trained[i]].left, means[i]}.dense();
      } else {
        gradient = parameter.is_contiguous() ? means[i] : at::empty_like(parameter).copy_(means[i]);
      }
    }
    result = {totals[0] / all, totals[1].round().to(torch::kInt64)};
  }

 private:
  std::shared_ptr<distributed::Group> group_;
};

}  // namespace creditlib::detail
