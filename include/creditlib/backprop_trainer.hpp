#pragma once

#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/observer.hpp>
#include <creditlib/detail/passes.hpp>
#include <creditlib/detail/requirements.hpp>
#include <creditlib/detail/training.hpp>
#include <creditlib/detail/whole_forward.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/trainer_options.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

namespace creditlib {

/// The baseline: back-propagation on the same models with the same options, and the same members as LocalTrainer.
///
/// clip_norm scales each block's gradients as it does there. With `branch_penalty` the loss is the objective's batch
/// mean plus branch_penalty times the sum over blocks of the batch mean of ||f_l||^2, the counterpart of
/// PenalizedInnerProduct. Every failure is an Error, thrown before the parameters change.
template <class Model, class Objective = CrossEntropy>
class BackpropTrainer {
  static_assert(detail::model_is_sound<Model>() & detail::objective_is_sound<Objective>(),
                "creditlib: BackpropTrainer cannot be made of these parts; the sentence above says why");

 public:
  explicit BackpropTrainer(Model model, TrainerOptions options = {}, Objective objective = {},
                           double branch_penalty = 0)
      : training_(detail::translated([&] { return detail::Training<Model>(std::move(model), options); })),
        passes_(detail::translated(
            [&] { return detail::Passes<Model>(training_.model(), options, training_.parameters()); })),
        objective_(std::move(objective)),
        branch_penalty_(branch_penalty) {
    if (options.memory == Memory::Constant) {
      detail::fail(
          "TrainerOptions: memory is Constant, but back-propagation needs the activations of all blocks; use "
          "Memory::Activations.");
    }
    if (!(branch_penalty >= 0) || std::isinf(branch_penalty)) {
      detail::fail("BackpropTrainer: branch_penalty is ", branch_penalty, ", expected a finite number >= 0.");
    }
  }

  BackpropTrainer(BackpropTrainer&&) = default;
  BackpropTrainer& operator=(BackpropTrainer&&) = default;
  BackpropTrainer(const BackpropTrainer&) = delete;
  BackpropTrainer& operator=(const BackpropTrainer&) = delete;

  /// One training step on the batch x (B, ...), y (B).
  StepResult step(const torch::Tensor& x, const torch::Tensor& y) {
    auto result = unobserved_step(x, y);
    observer_.after_step(*this, x, y);
    return result;
  }

  /// Calls `look(trainer, x, y)` after every `every`-th step of the run with that step's batch: for diagnostics. Its
  /// time is kept apart, in observation_seconds().
  void observe(std::int64_t every,
               std::function<void(BackpropTrainer&, const torch::Tensor&, const torch::Tensor&)> look) {
    observer_.set(every, std::move(look));
  }
  double observation_seconds() const { return observer_.seconds(); }

  /// Ends an epoch: the learning rate goes on.
  void end_epoch() { training_.end_epoch(); }

  /// dloss_i/dh_l, l = 0..L, per sample: the oracle's credits, raw; that of h_0 is undefined where the model has no
  /// embed parameters. Nothing is changed.
  std::vector<torch::Tensor> credits(const torch::Tensor& x, const torch::Tensor& y) {
    return detail::translated([&] {
      training_.check_batch(objective_, x, y);
      const detail::Untouched untouched(*model(), training_.device());
      auto credits = detail::hidden_gradients(model(), objective_, x, y);
      if (!detail::has_embed(model())) credits[0].reset();
      return credits;
    });
  }
  std::vector<torch::Tensor> raw_credits(const torch::Tensor& x, const torch::Tensor& y) { return credits(x, y); }

  /// The gradients that a step on this batch would apply (clipped), in the order of the model's parameters(). Nothing
  /// is changed.
  std::vector<torch::Tensor> gradients(const torch::Tensor& x, const torch::Tensor& y) {
    return detail::translated([&] {
      training_.check_batch(objective_, x, y);
      const detail::Untouched untouched(*model(), training_.device());
      return backward(x, y, passes_.closed_form()).first;
    });
  }

  /// Back-propagation has nothing of its own to learn.
  void learn(const torch::Tensor& x, const torch::Tensor& y) {
    detail::translated([&] { training_.check_batch(objective_, x, y); });
  }

  /// Writes all state, whole or not at all: model, optimiser, epoch and step.
  void save(const std::filesystem::path& path) const {
    detail::translated([&] { training_.save(path, {}, {}); });
  }
  /// Reads what save wrote; options stay this trainer's.
  void load(const std::filesystem::path& path) {
    detail::translated([&] { training_.load(path, {}, {}); });
  }

  Model& model() { return training_.model(); }
  const Model& model() const { return training_.model(); }
  const TrainerOptions& options() const { return training_.options(); }
  std::int64_t epoch() const { return training_.epoch(); }
  std::int64_t steps() const { return training_.steps(); }
  /// How steps are computed: Path::ClosedForm or Path::Generic.
  Path path() const { return passes_.path(); }
  /// The learning rate of the present epoch.
  double rate() const { return training_.rate(); }

 private:
  friend struct detail::TrainerAccess;

  StepResult unobserved_step(const torch::Tensor& x, const torch::Tensor& y) {
    return detail::translated([&] {
      training_.check_batch(objective_, x, y);
      auto [gradients, before] = backward(x, y, passes_.closed_form_for_step());
      training_.apply(std::move(gradients));
      return before;
    });
  }

  std::pair<std::vector<torch::Tensor>, StepResult> backward(const torch::Tensor& x, const torch::Tensor& y,
                                                             const std::shared_ptr<detail::ClosedFormPass>& closed) {
    torch::Tensor loss, logits;
    auto gradients = closed ? by_formula(*closed, x, y, loss, logits) : by_autograd(x, y, loss, logits);
    const torch::NoGradGuard no_grad;
    StepResult result{loss.detach(), torch::zeros({}, logits.options().dtype(torch::kInt64))};
    if constexpr (requires { objective_.correct(logits, y); }) result.correct = objective_.correct(logits.detach(), y);
    return {training_.clipped(std::move(gradients)), std::move(result)};
  }

  std::vector<torch::Tensor> by_autograd(const torch::Tensor& x, const torch::Tensor& y, torch::Tensor& loss,
                                         torch::Tensor& logits) {
    const torch::AutoGradMode grad(true);
    const auto pass = detail::forward_whole(model(), x, /*from_h0=*/false);
    logits = pass.logits;
    loss = objective_.loss(logits, y).mean();
    detail::Roots roots;
    roots.add(loss);
    if (branch_penalty_ != 0) {
      for (const auto& f : pass.branch) roots.add(branch_penalty_ * f.square().sum() / static_cast<double>(f.size(0)));
    }
    return roots.gradients(training_.parameters());
  }

  std::vector<torch::Tensor> by_formula(detail::ClosedFormPass& pass, const torch::Tensor& x, const torch::Tensor& y,
                                        torch::Tensor& loss, torch::Tensor& logits) {
    const torch::NoGradGuard no_grad;
    pass.forward(passes_.input(model(), x));
    logits = pass.logits();
    loss = objective_.loss(logits, y).mean();
    const auto error = objective_.error(logits, y) / static_cast<double>(x.size(0));
    return pass.backpropagate(error, branch_penalty_, training_.parameters());
  }

  detail::Training<Model> training_;
  detail::Observer<BackpropTrainer> observer_;
  detail::Passes<Model> passes_;
  Objective objective_;
  double branch_penalty_;
};

}  // namespace creditlib
