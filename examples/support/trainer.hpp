// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <creditlib/any_trainer.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "registry/graphed.hpp"
#include "support/any_model.hpp"
#include "support/program.hpp"

namespace support {

/// creditlib::AnyTrainer with what programs do beyond it: diagnostics of the network, steps in CUDA graphs, the same
/// method from another seed.
class Trainer : private creditlib::AnyTrainer {
 public:
  using Step = std::function<creditlib::StepResult(const torch::Tensor&, const torch::Tensor&)>;
  using WithSeed = std::function<Trainer(std::int64_t)>;

  /// `with_seed` makes the same method's trainer on the same model, whose source draws from another seed. `objective`
  /// is the trainer's own, for diagnostics.
  template <class Own, class Objective = creditlib::CrossEntropy>
    requires(!std::same_as<Own, Trainer> && creditlib::detail::Trains<Own>)
  explicit Trainer(Own held, WithSeed with_seed = {}, const Objective& objective = {})
      : AnyTrainer(std::move(held)),
        model_(std::make_unique<HeldModel<std::remove_cvref_t<decltype(held.model())>, Objective>>(
            target<Own>()->model(), objective)),
        graphed_(&graphed_step<Own>),
        nudge_(&nudge_of<Own>),
        with_seed_(std::move(with_seed)) {}

  using AnyTrainer::credit_tensors, AnyTrainer::end_epoch, AnyTrainer::epoch, AnyTrainer::forward;
  using AnyTrainer::gradients, AnyTrainer::learn, AnyTrainer::load, AnyTrainer::module, AnyTrainer::options;
  using AnyTrainer::rate, AnyTrainer::raw_credits, AnyTrainer::rehearse, AnyTrainer::save, AnyTrainer::steps,
      AnyTrainer::target, AnyTrainer::weights;

  creditlib::StepResult step(const torch::Tensor& x, const torch::Tensor& y) {
    return in_graphs_ ? in_graphs_(x, y) : AnyTrainer::step(x, y);
  }
  /// From now on steps run in CUDA graphs. Throws UsageError if they cannot.
  void use_cuda_graphs() { in_graphs_ = graphed_(*this); }

  Trainer with_seed(std::int64_t seed) const {
    if (!with_seed_) creditlib::detail::fail("This trainer cannot be made again with another seed.");
    return with_seed_(seed);
  }

  AnyModel& model() { return *model_; }

  /// How far equilibrium propagation's last nudge moved each hidden state; empty for other rules.
  std::vector<double> relative_nudge() const { return nudge_(*this); }

 private:
  /// The held trainer's step in CUDA graphs.
  template <class Own>
  static Step graphed_step(AnyTrainer& any) {
    auto graphed = registry::graphed<Own>(any);
    if (!graphed.step) throw UsageError("--cuda-graph: " + graphed.why_not);
    return std::move(graphed.step);
  }

  template <class Own>
  static std::vector<double> nudge_of([[maybe_unused]] const AnyTrainer& any) {
    if constexpr (requires(const Own& trainer) { trainer.state().relative_nudge; }) {
      const auto moved = any.target<Own>()->state().relative_nudge.to(torch::kCPU, torch::kFloat64).contiguous();
      return {moved.template data_ptr<double>(), moved.template data_ptr<double>() + moved.numel()};
    } else {
      return {};
    }
  }

  std::unique_ptr<AnyModel> model_;
  Step (*graphed_)(AnyTrainer&);
  std::vector<double> (*nudge_)(const AnyTrainer&);
  Step in_graphs_;
  WithSeed with_seed_;
};

}  // namespace support
