// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/autocast.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <creditlib/objective/detail/loss_and_error.hpp>
#include <creditlib/pass/graph_pass.hpp>
#include <creditlib/trainer/closed_form_passes.hpp>
#include <creditlib/trainer_options.hpp>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// Completes the trace of a pass with the batch and the objective; for a step with its loss.
template <class Objective>
ForwardPass forward_pass(std::shared_ptr<Pass> pass, Trace trace, const Objective& objective, const torch::Tensor& x,
                         const torch::Tensor& y, bool with_loss) {
  const torch::NoGradGuard no_grad;
  trace.input = x;
  trace.target = y;
  torch::Tensor loss;
  if (with_loss) {
    std::tie(loss, trace.error) = loss_and_error(objective, trace.logits, y);
  } else {
    trace.error = objective.error(trace.logits, y);
  }
  TraceAccess::attach(trace, pass);
  TraceAccess::set_objective(trace, objective);
  return {std::move(trace), std::move(pass), std::move(loss)};
}

/// Makes a trainer's passes: by formula if the model offers that and the options do not forbid it, otherwise by
/// autograd.
template <class Model>
class Passes {
 public:
  Passes(Model& model, const TrainerOptions& options, const std::vector<torch::Tensor>& parameters)
      : memory_(options.memory) {
    if (auto network = chosen_closed_form(model, options, parameters)) {
      by_formula_.emplace(std::move(*network), parameters, options.precision);
    }
  }

  Path path() const { return by_formula_ ? Path::ClosedForm : Path::Generic; }
  /// Whether gradients are made of credit as factors, which saves products and takes more kernels.
  bool take_factors(torch::Device device) const {
    return by_formula_ && (device.is_cpu() || memory_ == Memory::Constant);
  }
  /// Whether a backward pass takes the blocks from the first to the last, and not the other way.
  bool goes_up() const { return by_formula_ && memory_ == Memory::Constant; }
  std::optional<ClosedFormPasses>& by_formula() { return by_formula_; }

  /// How passes by autograd run the parts of the network. Throws Error if that is under autocast and steps are by
  /// formula.
  void set_runner(const PartRunner& run) {
    if (run.autocast && by_formula_) {
      fail(
          "Autocast is on, but the trainer's steps are computed by formula, which it does not act on; use "
          "TrainerOptions::precision = MatmulPrecision::BFloat16 instead of it, or path = Path::Generic with it.");
    }
    run_ = run;
  }
  const PartRunner& runner() const { return run_; }

  /// The forward pass of a step, for a Trace with these rights.
  template <class Objective>
  ForwardPass step(Model& model, const Objective& objective, const torch::Tensor& x, const torch::Tensor& y,
                   TraceRights rights) {
    if (!by_formula_) return by_autograd(model, objective, x, y, rights, /*with_loss=*/true);
    const auto input = by_formula_->input(model, x);
    if (memory_ == Memory::Constant) {
      const auto pass = by_formula_->for_step_in_constant_memory();
      return forward_pass(pass, pass->forward(input), objective, x, y, /*with_loss=*/true);
    }
    const auto pass = by_formula_->for_step();
    return forward_pass(pass, pass->forward(input), objective, x, y, /*with_loss=*/true);
  }

  /// A forward pass whose tensors outlive the next step.
  template <class Objective>
  ForwardPass preview(Model& model, const Objective& objective, const torch::Tensor& x, const torch::Tensor& y,
                      TraceRights rights) const {
    if (!by_formula_) return by_autograd(model, objective, x, y, rights, /*with_loss=*/false);
    const auto pass = by_formula_->fresh();
    return forward_pass(pass, pass->forward(by_formula_->input(model, x)), objective, x, y, /*with_loss=*/false);
  }

  /// The next step's buffers are new ones.
  void forget_buffers() {
    if (by_formula_) by_formula_->forget_buffers();
  }

 private:
  template <class Objective>
  ForwardPass by_autograd(Model& model, const Objective& objective, const torch::Tensor& x, const torch::Tensor& y,
                          TraceRights rights, bool with_loss) const {
    const auto pass = std::make_shared<GraphPass<Model>>(model, run_);
    auto trace = pass->forward(x, rights);
    check_target_positions(model, objective, trace.logits, y);
    return forward_pass(pass, std::move(trace), objective, x, y, with_loss);
  }

  Memory memory_;
  PartRunner run_;
  std::optional<ClosedFormPasses> by_formula_;
};

}  // namespace creditlib::detail
