#pragma once

#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/credit/value_net.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "support/phases.hpp"
#include "support/stepper.hpp"

namespace bench {

template <class Trainer>
class HeldStepper final : public Stepper {
 public:
  explicit HeldStepper(Trainer trainer) : trainer_(std::move(trainer)) {}

  void step(const torch::Tensor& x, const torch::Tensor& y) override { trainer_.step(x, y); }
  void forward(const torch::Tensor& x) override {
    const torch::NoGradGuard no_grad;
    trainer_.model()->forward(x);
  }
  void diagnose(const torch::Tensor& x, const torch::Tensor& y) override {
    const auto credits = trainer_.raw_credits(x, y);
    creditlib::diagnostics::alignment(credits, creditlib::diagnostics::true_gradients(trainer_.model(), x, y));
  }
  std::vector<torch::Tensor> gradients(const torch::Tensor& x, const torch::Tensor& y) override {
    return trainer_.gradients(x, y);
  }
  creditlib::NamedTensors credit_tensors() const override {
    if constexpr (requires { trainer_.state().named_tensors(); }) return trainer_.state().named_tensors();
    return {};
  }
  creditlib::NamedTensors parameters() const override {
    creditlib::NamedTensors named;
    for (const auto& parameter : trainer_.model()->named_parameters())
      named.emplace_back(parameter.key(), parameter.value());
    return named;
  }

 private:
  Trainer trainer_;
};

template <class Trainer>
std::unique_ptr<Stepper> held(Trainer trainer) {
  return std::make_unique<HeldStepper<Trainer>>(std::move(trainer));
}

/// RowRms without its form for factors: credit is multiplied out.
struct DenseRowRms {
  torch::Tensor operator()(const torch::Tensor& a) const { return MarkedRowRms{}(a); }
};

inline creditlib::TrainerOptions trainer_options(const Settings& s) {
  creditlib::TrainerOptions options;
  const auto path = s.resolved_path();
  options.path = path == "generic" ? creditlib::Path::Generic : creditlib::Path::ClosedForm;
  if (path == "constant_memory") options.memory = creditlib::Memory::Constant;
  if (s.precision == "bf16") options.precision = creditlib::MatmulPrecision::BFloat16;
  // The CNN script clips each block to 1 in all rules but bp; with ep all parameters together.
  if (s.model == "cnn" && s.rule != "bp") options.clip_norm = 1.0;
  if (s.model == "cnn" && s.rule == "ep") options.clip_scope = creditlib::ClipScope::All;
  return options;
}

/// The rule of the settings on a model; the file of each model has its instance, since each takes long to compile.
template <class Model>
std::unique_ptr<Stepper> stepper_on(Model model, const Settings& s) {
  using namespace creditlib;
  const auto options = trainer_options(s);
  const MarkedInnerProduct loss{{.mean_over_positions = s.model == "resnet" || s.model == "vit"}};
  const auto local = [&](auto source, auto normalizer) {
    return held(LocalTrainer(model, source, options, Always{}, normalizer, loss, MarkedCrossEntropy{}));
  };
  const auto learned = [&](auto source) {
    if (!s.nets_learn()) source.lr = 0;
    return local(MarkedSource<decltype(source)>{source}, MarkedRowRms{});
  };
  const DFA dfa{.by_element = s.model == "cnn"};

  if (s.rule == "bp") return held(BackpropTrainer(model, options, MarkedCrossEntropy{}));
  if (s.rule == "dfa") return local(dfa, MarkedRowRms{});
  // The scripts' FA credit is the gradient of the batch mean under an absolute 1e-6: B times that at per-sample scale.
  if (s.rule == "fa") return local(FA{}, MarkedRowRms{{.eps = 1e-6 * static_cast<double>(s.batch)}});
  if (s.rule == "oracle") return local(Oracle{}, MarkedRowRms{});
  if (s.rule == "vec") return learned(Vec{});
  if (s.rule == "value_net") return learned(ValueNet{});
  if (s.rule == "state_predictor") return learned(StatePredictor{});
  const bool script = s.model == "cnn";
  if (s.rule == "ep") return local(EquilibriumPropagation{.inner_mean = script, .outer_sum = script}, Raw{});
  if constexpr (requires { model->closed_form(); }) {
    return local(dfa, DenseRowRms{});
  } else {
    throw Error("dfa_dense is a rule of networks whose credit is kept as factors; use dfa");
  }
}

}  // namespace bench
