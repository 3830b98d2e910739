#pragma once

#include <algorithm>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/schedule/warmup.hpp>
#include <memory>
#include <optional>
#include <string>

#include "support/methods.hpp"
#include "support/program.hpp"

namespace support {

/// InnerProduct, or PenalizedInnerProduct where there is a penalty: chosen at run time, so that each rule is compiled
/// once.
struct BranchLoss {
  double penalty = 0;
  bool mean_over_positions = false;

  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const {
    return penalty == 0 ? embed_loss()(f, a) : penalized()(f, a);
  }
  torch::Tensor output_gradient(const torch::Tensor& f, const torch::Tensor& a) const {
    return penalty == 0 ? embed_loss().output_gradient(f, a) : penalized().output_gradient(f, a);
  }
  std::optional<double> multiple_of_credit(const torch::Tensor& f) const {
    return penalty == 0 ? embed_loss().multiple_of_credit(f) : std::nullopt;
  }
  creditlib::InnerProduct embed_loss() const { return {.mean_over_positions = mean_over_positions}; }

 private:
  creditlib::PenalizedInnerProduct penalized() const {
    return {.lambda = penalty, .mean_over_positions = mean_over_positions};
  }
};

/// The trainer of a method on a model; the file of each model's name has its instance, since each takes long to
/// compile.
template <class Model>
std::unique_ptr<AnyTrainer> method_trainer(const std::string& method, Model model, const MethodSettings& s,
                                           bool mean_over_positions) {
  using namespace creditlib;
  const auto held = std::make_shared<HeldModel<Model>>(model);
  const WithSeed with_seed = [=](std::int64_t seed) {
    auto other = s;
    other.options.seed = seed;
    return method_trainer(method, model, other, mean_over_positions);
  };
  if (method == "bp" || method == "frozen_bp" || method == "shallow") {
    return any_trainer(BackpropTrainer(model, s.options, CrossEntropy{}, s.penalty), held, with_seed);
  }
  const BranchLoss loss{s.penalty, mean_over_positions};
  const auto local = [&](auto credit, auto schedule, auto normalizer) {
    return any_trainer(LocalTrainer(model, credit, s.options, schedule, normalizer, loss), held, with_seed);
  };
  const DFA dfa{.by_element = s.by_element};
  if (method == "dfa" || method == "frozen") return local(dfa, Always{}, RowRms{});
  // The script's FA credit is the gradient of the batch mean under an absolute 1e-6: B times that at per-sample scale.
  if (method == "fa") return local(FA{}, Always{}, RowRms{.eps = 1e-6 * static_cast<double>(s.batch_size)});
  if (method == "oracle") return local(s.oracle, Always{}, RowRms{});
  if (method == "vec") return local(s.vec, Always{}, RowRms{});
  if (method == "state_predictor") return local(s.state_predictor, Always{}, RowRms{});
  if (method == "value_net") {
    const std::int64_t warmup = s.warmup >= 0 ? s.warmup : std::max<std::int64_t>(1, s.options.epochs / 5);
    return local(Mix{dfa, s.value_net}, Warmup{.epochs = warmup, .ramp = std::max<std::int64_t>(1, warmup)}, RowRms{});
  }
  if (method == "ep") return local(s.ep, Always{}, Raw{});
  throw UsageError("there is no method " + method);
}

}  // namespace support
