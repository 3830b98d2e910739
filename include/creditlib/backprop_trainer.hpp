// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/network/detail/gradients_of.hpp>
#include <creditlib/network/detail/whole_forward.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/objective/detail/loss_and_error.hpp>
#include <creditlib/trainer/base.hpp>
#include <creditlib/trainer/policies.hpp>
#include <creditlib/trainer/requirements.hpp>
#include <creditlib/trainer_options.hpp>
#include <memory>
#include <utility>
#include <vector>

namespace creditlib {

/// The baseline: back-propagation on the same models with the same options, and the same members as LocalTrainer.
///
/// clip_norm scales each block's gradients as it does there. With `branch_penalty` the loss is the objective's batch
/// mean plus branch_penalty times the sum over blocks of the batch mean of ||f_l||^2, the counterpart of
/// PenalizedInnerProduct. step, backward, end_step, observe, end_epoch, report, norms, save, load, model, options, epoch,
/// steps, rate and path are those of every trainer (trainer/base.hpp).
///
/// Throws Error for every failure, before the parameters change; for a label out of range on a device, and for hidden
/// states that are not of hidden_shape, as LocalTrainer.
template <class Model, class Objective = CrossEntropy>
class BackpropTrainer : public detail::TrainerBase<BackpropTrainer<Model, Objective>, Model, Objective> {
  static_assert(detail::all_of({detail::model_is_sound<Model>(), detail::objective_is_sound<Objective>()}),
                "creditlib: BackpropTrainer cannot be made of these parts; the sentence above says why");

  using Base = detail::TrainerBase<BackpropTrainer, Model, Objective>;
  using Kind = detail::PolicyKind;
  using Base::objective_, Base::passes_, Base::previewed, Base::summary, Base::training_;

 public:
  template <
      bool in_place = detail::fits_place<Objective, Kind::Objective>>  // a template for clang 19, as LocalTrainer's
    requires in_place
  explicit BackpropTrainer(Model model, TrainerOptions options = {}, Objective objective = {},
                           double branch_penalty = 0)
      : BackpropTrainer(detail::UpdatePolicies{}, std::move(model), options, std::move(objective), branch_penalty) {}

  /// The same with policies in any order: an objective, an optimizer, a rate, a clip, at most one of each.
  template <class... Policies>
    requires(sizeof...(Policies) > 0)
  BackpropTrainer(Model model, TrainerOptions options, Policies&&... policies)
      : BackpropTrainer(detail::update_policies(std::forward<Policies>(policies)...), std::move(model), options,
                        detail::picked<Kind::Objective, Objective>(std::forward<Policies>(policies)...), 0) {
    static_assert(detail::policies_are_sound<Policies...>(),
                  "creditlib: BackpropTrainer cannot take these policies; the sentence above says why");
    constexpr bool local = detail::count_of<Kind::Schedule, Policies...> +
                               detail::count_of<Kind::Normalizer, Policies...> +
                               detail::count_of<Kind::LocalLoss, Policies...> >
                           0;
    static_assert(!local,
                  "creditlib: back-propagation has no schedule, normalizer or local loss; give BackpropTrainer an "
                  "objective, an optimizer, a rate or a clip");
  }

  /// dloss_i/dh_l, l = 0..L, per sample: the oracle's credits, raw; that of h_0 is undefined if the model has no embed
  /// parameters. Nothing is changed.
  std::vector<torch::Tensor> credits(const torch::Tensor& x, const torch::Tensor& y) {
    return previewed(x, y, [&] {
      auto credits = detail::hidden_gradients(this->model(), *objective_, x, y, passes_.runner());
      if (!has_embed(this->model())) credits[0].reset();
      return credits;
    });
  }
  std::vector<torch::Tensor> raw_credits(const torch::Tensor& x, const torch::Tensor& y) { return credits(x, y); }

  /// The gradients that a step on this batch would apply (clipped), in the order of distinct_parameters(*model);
  /// undefined for a parameter that is frozen or that no gradient reaches. Nothing is changed.
  std::vector<torch::Tensor> gradients(const torch::Tensor& x, const torch::Tensor& y) {
    return previewed(x, y, [&] {
      const auto& by_formula = passes_.by_formula();
      auto sums = this->gradient_sums(x.size(0));
      auto backward =
          by_formula ? propagated(*by_formula->fresh(), x, y, sums.ready()) : propagated(x, y, sums.ready());
      sums.finish(backward.gradients, {});
      return training_.clipped(std::move(backward.gradients));
    });
  }

  /// Back-propagation has nothing of its own to learn.
  void learn(const torch::Tensor& x, const torch::Tensor& y) {
    detail::translated([&] { training_.check_batch(*objective_, x, y); });
  }

 private:
  friend Base;
  friend struct detail::TrainerAccess;

  static constexpr std::array<bool, 0> draws_for_all{};

  struct Backward {
    std::vector<torch::Tensor> gradients;
    torch::Tensor loss, logits;
  };

  BackpropTrainer(detail::UpdatePolicies update, Model model, const TrainerOptions& options, Objective objective,
                  double branch_penalty)
      : Base(std::move(model), options, std::move(update), std::move(objective)), branch_penalty_(branch_penalty) {
    if (options.memory == Memory::Constant) {
      detail::fail(
          "TrainerOptions: memory is Constant, but back-propagation needs the activations of all blocks; use "
          "Memory::Activations.");
    }
    if (!(branch_penalty >= 0) || std::isinf(branch_penalty)) {
      detail::fail("BackpropTrainer: branch_penalty is ", branch_penalty, ", expected a finite number >= 0.");
    }
    training_.together().agree("BackpropTrainer", {{"branch_penalty", c10::str(branch_penalty)}}, {});
    this->agree();
  }

  /// A step until the update.
  detail::BatchOutcome outcome_of(const torch::Tensor& x, const torch::Tensor& y, const detail::GradientReady& ready) {
    auto& by_formula = passes_.by_formula();
    auto [gradients, loss, logits] =
        by_formula ? propagated(*by_formula->for_step(), x, y, ready) : propagated(x, y, ready);
    return {summary(loss, logits, y), std::move(gradients)};
  }
  void after_update(const Trace&) {}

  /// By autograd.
  Backward propagated(const torch::Tensor& x, const torch::Tensor& y, const detail::GradientReady& ready) {
    const torch::AutoGradMode grad(true);
    const auto pass = detail::forward_whole(this->model(), x, /*from_h0=*/false, passes_.runner());
    detail::check_target_positions(this->model(), *objective_, pass.logits, y);
    const auto loss = objective_->loss(pass.logits, y).mean();
    std::vector<torch::Tensor> losses{loss};
    if (branch_penalty_ != 0) {
      for (const auto& f : pass.branch) {
        losses.push_back(branch_penalty_ * f.square().sum() / static_cast<double>(f.size(0)));
      }
    }
    const std::vector<torch::Tensor> ones(losses.size());
    return {detail::gradients_of(losses, ones, training_.parameters(), ready), loss, pass.logits};
  }

  /// By formula.
  Backward propagated(detail::FormulaPass& pass, const torch::Tensor& x, const torch::Tensor& y,
                      const detail::GradientReady& ready) {
    const torch::NoGradGuard no_grad;
    const auto logits = pass.forward(passes_.by_formula()->input(this->model(), x)).logits;
    const auto [loss, error] = detail::loss_and_error(*objective_, logits, y);
    const auto in_logits = error / static_cast<double>(x.size(0));
    return {pass.backpropagate(in_logits, branch_penalty_, training_.parameters(), ready), loss, logits};
  }

  NamedTensors own_tensors() const { return {}; }
  std::vector<torch::Generator> own_generators() const { return {}; }

  double branch_penalty_;
};

/// The objective from policies in any order.
template <class Model, class... Policies>
  requires(sizeof...(Policies) > 0)
BackpropTrainer(Model, TrainerOptions, Policies&&...)
    -> BackpropTrainer<Model,
                       typename detail::PolicyOf<detail::PolicyKind::Objective, CrossEntropy, Policies...>::type>;

}  // namespace creditlib
