// SPDX-License-Identifier: Apache-2.0
#include "weight_transport/methods.hpp"

#include <cmath>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/kolen_pollack.hpp>
#include <creditlib/credit/layer_fa.hpp>
#include <creditlib/credit/sign_symmetry.hpp>
#include <creditlib/credit/weight_mirror.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/optimizer/sgd.hpp>
#include <creditlib/rate/constant.hpp>
#include <utility>

#include "support/program.hpp"
#include "weight_transport/objective.hpp"

namespace weight_transport {
namespace {

namespace nn = torch::nn;

nn::Linear layer(std::int64_t in, std::int64_t out) {
  nn::Linear made(in, out);
  const torch::NoGradGuard no_grad;
  const double deviation = std::sqrt(1 / static_cast<double>(in + out));
  made->weight.normal_(0, deviation);
  made->bias.normal_(0, deviation);
  return made;
}

creditlib::SequentialBlocks network(const MakeOptions& o) {
  torch::manual_seed(static_cast<std::uint64_t>(o.seed));
  const auto hidden = layer(o.input, o.width), readout = layer(o.width, o.classes);
  return creditlib::SequentialBlocks({.blocks = {nn::Sequential(hidden, nn::Sigmoid())},
                                      .readout = nn::Sequential(readout),
                                      .example = torch::zeros({1, o.input})});
}

creditlib::TrainerOptions trainer_options(const Method& method, const MakeOptions& o) {
  const double lr = o.lr > 0 ? o.lr : method.lr;
  return {.lr = lr,
          .weight_decay = o.decay / lr,
          .epochs = o.epochs,
          .seed = o.seed,
          .decay_norms_and_biases = false,
          .group = support::group()};
}

constexpr creditlib::optimizer::SGD plain_sgd{.momentum = 0};

Made by_backpropagation(const creditlib::TrainerOptions& options, const MakeOptions& o) {
  creditlib::BackpropTrainer trainer(network(o), options, OneAgainstOthers{}, plain_sgd, creditlib::rate::Constant{});
  return {support::Trainer(std::move(trainer), {}, OneAgainstOthers{}),
          [](support::Trainer&) { return std::vector<torch::Tensor>(); }};
}

template <class Credit>
Made by(const Credit& credit, const creditlib::TrainerOptions& options, const MakeOptions& o) {
  creditlib::LocalTrainer trainer(network(o), credit, options, creditlib::Raw{}, OneAgainstOthers{}, plain_sgd,
                                  creditlib::rate::Constant{});
  auto& state = trainer.state();
  if constexpr (requires { state.feedback; }) {
    // The library draws it with a variance of 2 / (inputs + outputs).
    for (auto& B : state.feedback) {
      if (B.defined()) B.mul_(std::sqrt(0.5));
    }
  }
  if constexpr (requires { state.mirror(trainer.model()->parameters()); }) {
    for (std::int64_t i = 0; i < o.mirrorings; ++i) state.mirror(trainer.model()->parameters());
  }
  using Own = decltype(trainer);
  return {support::Trainer(std::move(trainer), {}, OneAgainstOthers{}), [](support::Trainer& any) {
            auto& own = *any.target<Own>();
            return own.state().transport(own.model());
          }};
}

}  // namespace

const std::vector<Method>& methods() {
  static const std::vector<Method> all{{"bp", "back-propagation", 0.2},
                                       {"fa", "feedback alignment", 0.2},
                                       {"kp", "Kolen and Pollack", 0.3},
                                       {"wm", "weight mirror", 0.05},
                                       {"usf", "the weights' signs, one magnitude", 0.2},
                                       {"frsf", "the weights' signs, random magnitudes", 0.2}};
  return all;
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const auto& method : methods()) names.emplace_back(method.name);
  return names;
}

std::string methods_text() {
  std::string text;
  for (const auto& method : methods()) {
    text += std::string(text.empty() ? "" : ", ") + method.name + " (" + method.what + ")";
  }
  return text;
}

Made make(const std::string& name, const MakeOptions& o) {
  for (const auto& method : methods()) {
    if (name != method.name) continue;
    const auto options = trainer_options(method, o);
    if (name == "bp") return by_backpropagation(options, o);
    if (name == "fa") return by(creditlib::LayerFA{}, options, o);
    if (name == "kp") return by(creditlib::KolenPollack{.decay = o.decay}, options, o);
    if (name == "wm") return by(creditlib::WeightMirror{}, options, o);
    if (name == "usf") return by(creditlib::SignSymmetry{creditlib::Magnitude::Uniform}, options, o);
    if (name == "frsf") return by(creditlib::SignSymmetry{creditlib::Magnitude::Fixed}, options, o);
  }
  throw support::UsageError("there is no method " + name);
}

}  // namespace weight_transport
