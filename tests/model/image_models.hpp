// SPDX-License-Identifier: Apache-2.0
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
#include <string>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

/// What is asked of every model for images. Each function says what is wrong, or nothing ("") where all is right.
namespace creditlib::test::image_model {

inline std::vector<std::string> parameter_names(const torch::nn::Module& module) {
  std::vector<std::string> names;
  for (const auto& entry : module.named_parameters()) names.push_back(entry.key());
  return names;
}

/// Other numbers into parameters and running statistics, so that no part of the network is the identity or 0.
inline void enliven(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(4);
  for (auto& parameter : module.parameters()) parameter.add_(torch::randn_like(parameter), 0.05);
  for (const auto& buffer : module.named_buffers()) {
    if (!buffer.value().is_floating_point()) continue;
    buffer.value().add_(torch::rand_like(buffer.value()), 0.5);  // a variance stays positive
  }
}

template <class Model>
Batch batch_of(Model& model, std::vector<std::int64_t> sample, std::int64_t size, torch::Dtype dtype) {
  torch::manual_seed(12);
  sample.insert(sample.begin(), size);
  return {torch::randn(sample).to(dtype), torch::randint(model->classes(), {size})};
}

/// Normalisation over all dimensions but the channels', in plain arithmetic: by the batch in train mode, else by the
/// statistics.
inline torch::Tensor batch_norm(torch::nn::Module& module, const std::string& name, const torch::Tensor& h) {
  const auto parameters = module.named_parameters();
  const auto buffers = module.named_buffers();
  const auto of = [&](const torch::Tensor& one_a_channel) { return one_a_channel.view({1, -1, 1, 1}); };
  const auto mean = module.is_training() ? h.mean({0, 2, 3}) : buffers[name + ".running_mean"];
  const auto variance = module.is_training() ? (h - of(mean)).square().mean({0, 2, 3}) : buffers[name + ".running_var"];
  return (h - of(mean)) / (of(variance) + 1e-5).sqrt() * of(parameters[name + ".weight"]) +
         of(parameters[name + ".bias"]);
}

inline torch::Tensor layer_norm(torch::nn::Module& module, const std::string& name, const torch::Tensor& h) {
  const auto parameters = module.named_parameters();
  const auto centred = h - h.mean(-1, true);
  return centred / (centred.square().mean(-1, true) + 1e-5).sqrt() * parameters[name + ".weight"] +
         parameters[name + ".bias"];
}

inline torch::Tensor linear(torch::nn::Module& module, const std::string& name, const torch::Tensor& h) {
  const auto parameters = module.named_parameters();
  return h.matmul(parameters[name + ".weight"].t()) + parameters[name + ".bias"];
}

/// The plain forward is the blocks' composition, in eval mode and to the bit, with hidden states of the shapes that the
/// model says.
template <class Model>
std::string forward_is_the_composition(Model model, const Batch& batch) {
  model->eval();
  const torch::NoGradGuard no_grad;
  const auto fits = [&](const torch::Tensor& h, std::int64_t l) {
    return h.sizes().slice(1) == torch::IntArrayRef(model->hidden_shape(l));
  };
  auto h = model->embed(batch.x);
  for (std::int64_t l = 0; l < model->blocks(); ++l) {
    if (!fits(h, l)) return "h_" + std::to_string(l) + " has another shape";
    h = model->join(l, h, model->block(l, h));
  }
  if (!fits(h, model->blocks())) return "h_L has another shape";
  return torch::equal(model->readout(h), model->forward(batch.x)) ? "" : "the logits differ";
}

/// A step with the oracle's raw credit has back-propagation's own gradients, in train mode; the model is float64.
template <class Model>
std::string oracle_is_backprop(Model model, const Batch& batch) {
  model->train();
  const auto exact = BackpropTrainer(model).gradients(batch.x, batch.y);
  const auto local = LocalTrainer(model, Oracle{}, {}, {}, Raw{}).gradients(batch.x, batch.y);
  for (const auto& gradient : exact) {
    if (!gradient.defined()) return "a parameter without a gradient";
  }
  const double apart = distance(local, exact);
  return apart < 1e-12 ? "" : "the gradients are " + std::to_string(apart) + " apart";
}

/// A step moves running statistics as one plain forward does, to the bit.
template <class Model, class Rule>
std::string statistics_move_once(const Model& make_model, const Batch& batch, const Rule& rule) {
  auto plain = make_model(), trained = make_model();
  const auto before = copies(plain->buffers());
  LocalTrainer trainer(trained, rule, {}, {}, Raw{});

  plain->forward(batch.x);
  trainer.step(batch.x, batch.y);

  if (same(before, copies(plain->buffers()))) return "a forward pass in train mode moves nothing";
  return same(copies(plain->buffers()), copies(trained->buffers())) ? "" : "a step's statistics are not a forward's";
}

template <class Trainer>
std::string loss_falls(const std::string& rule, Trainer trainer, const Batch& batch, int steps, double to = 0.7) {
  const double before = trainer.step(batch.x, batch.y).loss.template item<double>();
  for (int i = 1; i < steps; ++i) trainer.step(batch.x, batch.y);
  const double after = trainer.step(batch.x, batch.y).loss.template item<double>();
  if (after < to * before) return "";
  return rule + ": the loss went from " + std::to_string(before) + " to " + std::to_string(after) + "; ";
}

/// A few steps with any rule, on a fresh model each, bring the loss of the batch below 0.7 of what it was.
template <class Model>
std::string every_rule_trains(const Model& make_model, const Batch& batch, double lr, int steps, double to = 0.7) {
  const TrainerOptions options{.lr = lr, .seed = 7};
  const auto local = [&](const std::string& name, const auto& rule, const auto& normalizer) {
    return loss_falls(name, LocalTrainer(make_model(), rule, options, {}, normalizer), batch, steps, to);
  };
  return loss_falls("back-propagation", BackpropTrainer(make_model(), options), batch, steps, to) +
         local("oracle", Oracle{}, RowRms{}) + local("DFA", DFA{}, RowRms{}) +
         local("DFA by element", DFA{.by_element = true}, RowRms{}) + local("FA", FA{}, RowRms{}) +
         local("EP", EquilibriumPropagation{.steps = 5}, Raw{});
}

/// Learning changes a source's credit, by `gained` of Gamma at h_L or more, and a step with it moves every parameter of
/// the network.
template <class Model, class Rule>
std::string learns_its_credit(Model model, const Batch& batch, const Rule& rule, double gained) {
  LocalTrainer trainer(model, rule, {.seed = 7});
  const auto untaught = trainer.raw_credits(batch.x, batch.y);
  const auto gamma = [&] {
    return *diagnostics::alignment(trainer.raw_credits(batch.x, batch.y).back(),
                                   diagnostics::true_gradients(model, batch.x, batch.y).back())
                .value;
  };
  const double untrained = gamma();
  for (int i = 0; i < 40; ++i) trainer.learn(batch.x, batch.y);
  const double trained = gamma();
  if (trained < untrained + gained) return c10::str("Gamma went from ", untrained, " to ", trained);
  const auto taught = trainer.raw_credits(batch.x, batch.y);
  for (std::size_t l = 1; l < taught.size(); ++l) {
    if (torch::equal(taught[l], untaught[l])) return c10::str("credit at h_", l, " has not changed");
  }

  const auto before = copies(model->parameters());
  trainer.step(batch.x, batch.y);
  const auto after = model->parameters();
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (torch::equal(after[i], before[i]) || !after[i].isfinite().all().template item<bool>())
      return c10::str("parameter ", i, " stays as it is, or is not finite");
  }
  return "";
}

template <class Model>
std::string learned_rules_learn(const Model& make_model, const Batch& batch) {
  const auto said = [&](const std::string& name, const auto& rule, double gained) {
    const auto fault = learns_its_credit(make_model(), batch, rule, gained);
    return fault.empty() ? "" : name + ": " + fault + "; ";
  };
  // The others have to find a loss or a state before their gradient means anything: no matter of a moment.
  return said("Vec", Vec{}, 0.3) + said("ValueNet", ValueNet{}, -2) + said("StatePredictor", StatePredictor{}, -2);
}

/// One credit a channel trains block l as the same credit spread over all positions does.
template <class Model>
std::string credit_is_of_every_position(Model model, const Batch& batch) {
  LocalTrainer trainer(model, DFA{}, {.seed = 7}, {}, Raw{});
  const auto credits = trainer.credits(batch.x, batch.y), gradients = trainer.gradients(batch.x, batch.y);
  const auto gradient_of = [&](const torch::Tensor& parameter) {
    const auto all = model->parameters();
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].is_same(parameter)) return gradients[i];
    }
    return torch::Tensor();
  };
  auto h = model->embed(batch.x);
  for (std::int64_t l = 0; l < model->blocks(); ++l) {
    h = h.detach();
    const auto f = model->block(l, h);
    const auto spread = credits[static_cast<std::size_t>(l + 1)].expand_as(f).contiguous();
    const auto own = model->block_parameters(l);
    const auto expected = torch::autograd::grad({(f * spread).sum() / batch.x.size(0)}, own);
    std::vector<torch::Tensor> found;
    for (const auto& parameter : own) found.push_back(gradient_of(parameter));
    if (distance(found, expected) > 1e-12) return "block " + std::to_string(l);
    h = model->join(l, h, f);
  }
  return "";
}

}  // namespace creditlib::test::image_model
