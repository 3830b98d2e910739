// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/closed_form/detail/check.hpp>
#include <creditlib/closed_form/detail/constant_memory_pass.hpp>
#include <creditlib/closed_form/detail/formula_pass.hpp>
#include <creditlib/closed_form/detail/pass.hpp>
#include <creditlib/closed_form/detail/stacked_pass.hpp>
#include <creditlib/closed_form/model.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <creditlib/runtime/matmul.hpp>
#include <creditlib/trainer_options.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// Says so, once per process, where products of bfloat16 are slower than those of float32.
inline void warn_if_bfloat16_is_slower() {
  static std::once_flag once;
  std::call_once(once, [] {
    const auto trial = runtime::time_bfloat16();
    if (trial.bfloat16_pays()) return;
    TORCH_WARN("creditlib: TrainerOptions' precision is BFloat16, which is slower than Float32 on this processor: ",
               "products that take ", trial.float32_milliseconds, " ms in float32 take ", trial.bfloat16_milliseconds,
               " ms.");
  });
}

/// The layers of a model whose steps are to be computed by formula, std::nullopt for one whose steps are by autograd.
///
/// Throws Error for options that need a closed form if the model has none, and for a closed form that does not fit the
/// model.
template <BlockModel Model>
std::optional<closed_form::Network> chosen_closed_form(Model& model, const TrainerOptions& options,
                                                       const std::vector<torch::Tensor>& parameters) {
  std::optional<closed_form::Network> network;
  if (options.path != Path::Generic) network = closed_form::of(model);
  if (network) ClosedFormCheck(*network, parameters, model->blocks(), model->classes());
  if (options.path == Path::ClosedForm && !network) {
    fail(
        "TrainerOptions: path is ClosedForm, but the model does not say its layers, or has some without a closed form; "
        "use Path::Auto.");
  }
  if (options.memory == Memory::Constant && !network) {
    fail(
        "TrainerOptions: memory is Constant, but the step is not computed by formula: the model has no closed form, or "
        "path is Generic.");
  }
  if (options.precision == MatmulPrecision::BFloat16 &&
      (!network || parameters.front().scalar_type() != torch::kFloat32)) {
    fail(
        "TrainerOptions: precision is BFloat16, which goes with float32 models whose steps are computed by formula "
        "(Path::ClosedForm); use Float32.");
  }
  if (options.precision == MatmulPrecision::BFloat16 && parameters.front().is_cpu()) warn_if_bfloat16_is_slower();
  return network;
}

/// The passes by formula of one trainer, and the buffers that its steps use again.
class ClosedFormPasses {
 public:
  ClosedFormPasses(closed_form::Network network, std::vector<torch::Tensor> parameters, MatmulPrecision precision)
      : network_(std::move(network)), parameters_(std::move(parameters)), precision_(precision) {}

  /// A pass whose tensors outlive it.
  std::shared_ptr<FormulaPass> fresh() const {
    if (on_cpu()) return make<ClosedFormPass>();
    return make<StackedPass>();
  }
  /// A pass for a step, on the CPU in the buffers of the last one.
  std::shared_ptr<FormulaPass> for_step() {
    if (on_cpu()) return reused(kept_);
    return fresh();
  }
  /// The same with the activations of one block.
  std::shared_ptr<ConstantMemoryPass> for_step_in_constant_memory() { return reused(kept_constant_); }

  /// The next step's buffers are new ones.
  void forget_buffers() {
    kept_.reset();
    kept_constant_.reset();
  }

  /// x as the closed form takes it, (B, in). Throws Error for a shape that the model cannot take: the model's own, if
  /// it has one.
  template <BlockModel Model>
  torch::Tensor input(Model& model, const torch::Tensor& x) const {
    const auto flat = (network_.flatten && x.dim() > 1 ? x.flatten(1) : x).detach();
    const auto inputs = *closed_form::inputs(network_);
    if (flat.dim() == 2 && flat.size(1) == inputs) return flat.contiguous();
    const torch::NoGradGuard no_grad;
    check_hidden(model, 0, embedded(model, x), x.size(0));
    fail("The input is ", shape_text(x.sizes()), ", expected ", inputs, " numbers per sample.");
  }

 private:
  bool on_cpu() const { return parameters_.front().is_cpu(); }
  template <class Kept>
  std::shared_ptr<Kept> make() const {
    return std::make_shared<Kept>(network_, parameters_, precision_);
  }
  /// The last step's pass, or a new one if a user holds a Trace of that.
  template <class Kept>
  std::shared_ptr<Kept> reused(std::shared_ptr<Kept>& kept) const {
    if (!kept || kept.use_count() > 1) kept = make<Kept>();
    return kept;
  }

  closed_form::Network network_;
  std::vector<torch::Tensor> parameters_;
  MatmulPrecision precision_;
  std::shared_ptr<ClosedFormPass> kept_;
  std::shared_ptr<ConstantMemoryPass> kept_constant_;
};

}  // namespace creditlib::detail
