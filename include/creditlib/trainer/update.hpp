// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/clip/by_all.hpp>
#include <creditlib/clip/by_block.hpp>
#include <creditlib/concepts.hpp>
#include <creditlib/error.hpp>
#include <creditlib/optimizer/adamw.hpp>
#include <creditlib/optimizer/sgd.hpp>
#include <creditlib/rate/constant.hpp>
#include <creditlib/rate/cosine.hpp>
#include <creditlib/trainer/any_optimizer.hpp>
#include <creditlib/trainer/torch_optimizer.hpp>
#include <creditlib/trainer_options.hpp>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

/// The policies that act once per step and on all parameters at once, behind one type each: a trainer's type does not
/// depend on them, and a virtual call costs nothing beside a step.
namespace creditlib::detail {

/// The run state of an optimizer policy.
template <class State>
class OptimizerOf final : public AnyOptimizer {
 public:
  OptimizerOf(State state, double lr) : state_(std::move(state)), lr_(lr) {}

  void step() override { state_.step(); }
  void set_rate(double factor) override { state_.set_rate(factor); }
  double lr() const override { return lr_; }
  bool graphable() const override { return DeclaresGraphable<State>; }
  NamedTensors named_tensors() const override { return state_.named_tensors(); }

 private:
  State state_;
  double lr_;
};

/// A rate in use.
class AnyRate {
 public:
  virtual ~AnyRate() = default;

  virtual double factor(const Progress& now) const = 0;
  virtual void report(double value) = 0;
  virtual NamedTensors named_tensors() const = 0;
};

template <class Rate>
class RateOf final : public AnyRate {
 public:
  explicit RateOf(Rate rate) : rate_(std::move(rate)) {}

  double factor(const Progress& now) const override { return rate_(now); }
  void report(double value) override {
    if constexpr (TakesReports<Rate>) {
      rate_.report(value);
    } else {
      fail("report: this trainer's rate takes no reports; give it one that does, such as rate::ReduceOnPlateau.");
    }
  }
  NamedTensors named_tensors() const override {
    if constexpr (HasNamedTensors<Rate>) {
      return rate_.named_tensors();
    } else {
      return {};
    }
  }

 private:
  Rate rate_;
};

/// What a trainer was given of these policies; what is empty is taken from TrainerOptions.
struct UpdatePolicies {
  std::function<std::unique_ptr<AnyOptimizer>(const ParameterParts&, const TrainerOptions&)> optimizer = {};
  std::function<std::unique_ptr<AnyRate>()> rate = {};
  std::function<void(std::vector<torch::Tensor>&, const ParameterParts&)> clip = {};
};

template <class Policy>
void check_options_of(const Policy& policy) {
  if constexpr (ChecksItself<Policy>) policy.check();
}

/// Each parameter with its rate and decay, as the options say.
inline std::vector<TrainedParameter> trained_parameters(const ParameterParts& parts, const TrainerOptions& options) {
  std::vector<TrainedParameter> trained;
  for (const auto& parameter : parts.all) {
    const bool decays = options.decay_norms_and_biases || parameter.dim() > 1;
    trained.push_back({parameter, options.lr, decays ? options.weight_decay : 0});
  }
  const auto scale = [&](const std::vector<std::size_t>& positions, double factor) {
    for (const auto i : positions) trained[i].lr *= factor;
  };
  scale(parts.embed, options.lr_factors.embed);
  for (const auto& block : parts.blocks) scale(block, options.lr_factors.blocks);
  scale(parts.readout, options.lr_factors.readout);
  return trained;
}

template <class Policy>
std::unique_ptr<AnyOptimizer> bound_optimizer(const Policy& policy, const ParameterParts& parts,
                                              const TrainerOptions& options) {
  auto state = policy.bind(trained_parameters(parts, options));
  return std::make_unique<OptimizerOf<decltype(state)>>(std::move(state), options.lr);
}

template <class Policy>
std::unique_ptr<AnyRate> bound_rate(const Policy& policy) {
  check_options_of(policy);
  if constexpr (BindsRate<Policy>) {
    auto rate = policy.bind();
    return std::make_unique<RateOf<decltype(rate)>>(std::move(rate));
  } else {
    return std::make_unique<RateOf<Policy>>(policy);
  }
}

// ---- Each kind of policy into UpdatePolicies ----

template <class Policy>
void set_optimizer(UpdatePolicies& policies, Policy policy) {
  if constexpr (TorchOptimizer<Policy>) {
    auto optimizer = shared_optimizer(std::move(policy));
    const bool keeps_rates = !policies.rate;
    policies.optimizer = [optimizer, keeps_rates](const ParameterParts& parts, const TrainerOptions& options) {
      check_torch_optimizer(optimizer, parts, options);
      return std::make_unique<TorchOptimizerState>(optimizer, keeps_rates);
    };
    if (keeps_rates) policies.rate = [] { return bound_rate(rate::Constant{}); };
  } else {
    policies.optimizer = [policy](const ParameterParts& parts, const TrainerOptions& options) {
      return bound_optimizer(policy, parts, options);
    };
  }
}
template <class Policy>
void set_rate(UpdatePolicies& policies, const Policy& policy) {
  policies.rate = [policy] { return bound_rate(policy); };
}
template <class Policy>
void set_clip(UpdatePolicies& policies, const Policy& policy) {
  check_options_of(policy);
  policies.clip = policy;
}

/// Fills in what the options say in shorthand.
inline UpdatePolicies completed(UpdatePolicies policies, const TrainerOptions& options) {
  if (!policies.optimizer) {
    if (options.optimizer == Optimizer::SGD) {
      set_optimizer(policies, optimizer::SGD{.momentum = options.momentum});
    } else {
      set_optimizer(policies, optimizer::AdamW{});
    }
  }
  if (!policies.rate) {
    if (options.rate == Rate::Constant) {
      set_rate(policies, rate::Constant{});
    } else {
      set_rate(policies, rate::Cosine{});
    }
  }
  if (options.clip_norm) {
    if (policies.clip) {
      fail(
          "TrainerOptions: clip_norm is given and so is a clip policy; leave one out, since gradients are clipped "
          "once.");
    }
    if (options.clip_scope == ClipScope::Block) {
      set_clip(policies, clip::ByBlock{.norm = *options.clip_norm});
    } else {
      set_clip(policies, clip::ByAll{.norm = *options.clip_norm});
    }
  }
  return policies;
}

}  // namespace creditlib::detail
