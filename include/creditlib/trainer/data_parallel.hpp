// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>
#include <torch/version.h>

#include <array>
#include <charconv>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/distributed/detail/agreement.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <creditlib/pass/output_gradients.hpp>
#include <creditlib/trainer_options.hpp>
#include <creditlib/version.hpp>
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
  if constexpr (DeclaresDataParallel<State>) {
    return State::data_parallel ? "" : "says so (data_parallel = false)";
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
    std::vector<torch::IntArrayRef> sizes;  // of what is summed
    std::int64_t numbers = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!parameters[i].requires_grad()) continue;
      trained.push_back(i);
      const auto& summed = is_factored(i) ? factors[i].right : parameters[i];
      sizes.push_back(summed.sizes());
      numbers += summed.numel();
    }
    // The gradients' numbers; for each, whether it is defined; loss, correct, samples.
    const auto count = static_cast<std::int64_t>(trained.size());
    auto message = torch::empty({numbers + count + 3}, parameters[0].options().requires_grad(false));
    auto sums = message.narrow(0, 0, numbers), defined = message.narrow(0, numbers, count);
    auto loss = message[numbers + count], correct = message[numbers + count + 1], all = message[numbers + count + 2];
    const auto each_part = [&](const auto& action) {
      std::int64_t first = 0;
      for (std::size_t i = 0; i < trained.size(); ++i) {
        const auto count_of_part = c10::multiply_integers(sizes[i]);
        action(sums.narrow(0, first, count_of_part).view(sizes[i]), i);
        first += count_of_part;
      }
    };
    defined.zero_();
    each_part([&](torch::Tensor part, std::size_t i) {
      const auto& gradient = is_factored(trained[i]) ? factors[trained[i]].right : gradients[trained[i]];
      if (gradient.defined()) {
        part.copy_(gradient);
        defined[static_cast<std::int64_t>(i)].fill_(1);
      } else {
        part.zero_();
      }
    });
    loss.copy_(result.loss);
    message.narrow(0, 0, numbers).mul_(static_cast<double>(samples));
    loss.mul_(static_cast<double>(samples));
    correct.copy_(result.correct);
    all.fill_(static_cast<double>(samples));

    group_->sum({message});

    sums.div_(all.clone());
    const auto exists = defined.to(torch::kCPU, torch::kFloat64);
    each_part([&](const torch::Tensor& part, std::size_t i) {
      if (exists[static_cast<std::int64_t>(i)].item<double>() == 0) return;
      const auto& parameter = parameters[trained[i]];
      auto& gradient = gradients[trained[i]];
      if (is_factored(trained[i])) {
        gradient = FactoredGradient{factors[trained[i]].left, part}.dense();
        return;
      }
      gradient = parameter.is_contiguous() ? part : at::empty_like(parameter).copy_(part);
    });
    result = {loss / all, correct.round().to(torch::kInt64)};
  }

 private:
  std::shared_ptr<distributed::Group> group_;
};

/// The options of trainers that all ranks have alike, numbers with all their digits.
inline Facts facts_of(const TrainerOptions& options) {
  const auto text = [](double number) {
    std::array<char, 32> digits{};
    return std::string(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr);
  };
  const auto factors = options.lr_factors;
  return {
      {"the version of creditlib", CREDITLIB_VERSION},
      {"the version of LibTorch", TORCH_VERSION},
      {"TrainerOptions::lr", text(options.lr)},
      {"TrainerOptions::weight_decay", text(options.weight_decay)},
      {"TrainerOptions::clip_norm", options.clip_norm ? text(*options.clip_norm) : "none"},
      {"TrainerOptions::epochs", c10::str(options.epochs)},
      {"TrainerOptions::seed", c10::str(options.seed)},
      {"TrainerOptions::optimizer", c10::str(static_cast<int>(options.optimizer))},
      {"TrainerOptions::rate", c10::str(static_cast<int>(options.rate))},
      {"TrainerOptions::momentum", text(options.momentum)},
      {"TrainerOptions::clip_scope", c10::str(static_cast<int>(options.clip_scope))},
      {"TrainerOptions::path", c10::str(static_cast<int>(options.path))},
      {"TrainerOptions::memory", c10::str(static_cast<int>(options.memory))},
      {"TrainerOptions::precision", c10::str(static_cast<int>(options.precision))},
      {"TrainerOptions::draws", c10::str(static_cast<int>(options.draws))},
      {"TrainerOptions::lr_factors", text(factors.embed) + ", " + text(factors.blocks) + ", " + text(factors.readout)},
      {"TrainerOptions::decay_norms_and_biases", c10::str(options.decay_norms_and_biases)}};
}

}  // namespace creditlib::detail
