#pragma once

#include <creditlib/closed_form/network.hpp>
#include <creditlib/detail/closed_form_check.hpp>
#include <creditlib/detail/closed_form_pass.hpp>
#include <creditlib/detail/constant_memory_pass.hpp>
#include <creditlib/detail/graph_pass.hpp>
#include <creditlib/trainer_options.hpp>
#include <memory>
#include <optional>
#include <vector>

namespace creditlib::detail {

/// Makes a trainer's passes: by formula where the model offers that and the options do not forbid it, by autograd
/// elsewhere.
template <class Model>
class Passes {
 public:
  Passes(Model& model, const TrainerOptions& options, std::vector<torch::Tensor> parameters)
      : parameters_(std::move(parameters)), memory_(options.memory), precision_(options.precision) {
    if (options.path != Path::Generic) network_ = closed_form::of(model);
    if (network_) ClosedFormCheck(*network_, parameters_, model->blocks(), model->classes());
    if (options.path == Path::ClosedForm && !network_) {
      fail(
          "TrainerOptions: path is ClosedForm, but the model does not say its layers, or has some without a closed "
          "form; use Path::Auto.");
    }
    if (memory_ == Memory::Constant && !network_) {
      fail(
          "TrainerOptions: memory is Constant, but the step is not computed by formula: the model has no closed form, "
          "or path is Generic.");
    }
    if (precision_ == MatmulPrecision::BFloat16 &&
        (!network_ || parameters_.front().scalar_type() != torch::kFloat32)) {
      fail(
          "TrainerOptions: precision is BFloat16, which goes with float32 models whose steps are computed by formula "
          "(Path::ClosedForm); use Float32.");
    }
  }

  Path path() const { return network_ ? Path::ClosedForm : Path::Generic; }

  /// A pass by formula whose tensors outlive it. Null where the path is the generic one.
  std::shared_ptr<ClosedFormPass> closed_form() const {
    return network_ ? std::make_shared<ClosedFormPass>(*network_, parameters_, precision_) : nullptr;
  }
  /// The same for a step: it may use the buffers of the last one's.
  std::shared_ptr<ClosedFormPass> closed_form_for_step() { return network_ ? reused(kept_) : nullptr; }

  /// The next step's buffers are new ones.
  void forget_buffers() {
    kept_.reset();
    kept_constant_.reset();
  }

  /// x as the closed form takes it, (B, in). Throws Error for a shape that the model cannot take: the model's own,
  /// where it has one.
  torch::Tensor input(Model& model, const torch::Tensor& x) const {
    const auto flat = (network_->flatten ? x.flatten(1) : x).detach();
    const auto inputs = *closed_form::inputs(*network_);
    if (flat.dim() == 2 && flat.size(1) == inputs) return flat.contiguous();
    const torch::NoGradGuard no_grad;
    check_hidden("The model's h_", 0, model->embed(x), model->hidden_shape(0), x.size(0));
    fail("The input is ", shape_text(x.sizes()), ", expected ", inputs, " numbers a sample.");
  }

  /// The forward pass of a step. With `pullbacks` gradients can reach h_0..h_{L-1}.
  template <class Objective>
  ForwardPass forward_for_step(Model& model, const Objective& objective, const torch::Tensor& x, const torch::Tensor& y,
                               bool pullbacks) {
    if (memory_ == Memory::Activations) return forward(model, objective, x, y, pullbacks, closed_form_for_step());
    const auto pass = reused(kept_constant_);
    return traced(pass, pass->forward(input(model, x)), objective, x, y);
  }

  /// A forward pass whose Trace credit sources see, by formula where `closed` is given.
  template <class Objective>
  ForwardPass forward(Model& model, const Objective& objective, const torch::Tensor& x, const torch::Tensor& y,
                      bool pullbacks, const std::shared_ptr<ClosedFormPass>& closed) const {
    if (closed) return traced(closed, closed->forward(input(model, x)), objective, x, y);
    const auto graph = std::make_shared<GraphPass<Model>>(model);
    return traced(graph, graph->forward(x, pullbacks), objective, x, y);
  }

 private:
  /// The last step's pass, or a new one where a user holds a Trace of that.
  template <class Kept>
  std::shared_ptr<Kept> reused(std::shared_ptr<Kept>& kept) const {
    if (!kept || kept.use_count() > 1) kept = std::make_shared<Kept>(*network_, parameters_, precision_);
    return kept;
  }

  template <class Objective>
  static ForwardPass traced(std::shared_ptr<Pass> pass, Trace trace, const Objective& objective, const torch::Tensor& x,
                            const torch::Tensor& y) {
    const torch::NoGradGuard no_grad;
    trace.input = x;
    trace.target = y;
    trace.logits = pass->logits();
    trace.error = objective.error(trace.logits, y);
    TraceAccess::attach(trace, pass);
    TraceAccess::set_objective(trace, objective);
    return {std::move(trace), std::move(pass)};
  }

  std::vector<torch::Tensor> parameters_;
  std::optional<closed_form::Network> network_;
  Memory memory_;
  MatmulPrecision precision_;
  std::shared_ptr<ClosedFormPass> kept_;
  std::shared_ptr<ConstantMemoryPass> kept_constant_;
};

}  // namespace creditlib::detail
