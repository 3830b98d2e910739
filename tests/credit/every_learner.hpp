#pragma once

#include <algorithm>
#include <creditlib/local_trainer.hpp>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"

/// What holds for every credit source that learns, and how to see it. Functions that return text say what is wrong, or
/// nothing.
namespace creditlib::test {

/// A schedule under which nothing learns.
struct LearnsNothing {
  std::array<double, 1> weights(const Progress&) const { return {1.0}; }
  std::array<bool, 1> learns(const Progress&) const { return {false}; }
};

/// "" where a trainer whose source does not learn keeps its first credits, to the bit, and one that learns does not.
template <class Rule>
std::string without_learning_nothing_moves(const Rule& rule) {
  const auto batch = small_batch();
  LocalTrainer off(small_model(), rule, {}, LearnsNothing{});
  LocalTrainer on(small_model(), rule);
  const auto before = off.raw_credits(batch.x, batch.y);
  if (!same(before, on.raw_credits(batch.x, batch.y))) return "they start apart";

  for (int i = 0; i < 3; ++i) off.learn(batch.x, batch.y), on.learn(batch.x, batch.y);

  if (!same(before, off.raw_credits(batch.x, batch.y))) return "it learns where the schedule does not let it";
  const auto after = on.raw_credits(batch.x, batch.y);
  for (std::size_t l = 0; l < after.size(); ++l) {
    if (torch::equal(before[l], after[l])) return "learning does not change credit " + std::to_string(l);
  }
  return "";
}

/// All that a state keeps, and all that is a model's.
template <class State>
std::vector<torch::Tensor> kept(const State& state) {
  std::vector<torch::Tensor> tensors;
  for (const auto& [name, tensor] : state.named_tensors()) tensors.push_back(tensor);
  return copies(tensors);
}
inline std::vector<torch::Tensor> all_of(torch::nn::Module& module) {
  auto tensors = copies(module.parameters());
  for (const auto& buffer : module.buffers()) tensors.push_back(buffer.clone());
  for (const auto& gradient : gradients_of(module)) tensors.push_back(gradient);
  tensors.push_back(global_generator_state());
  return tensors;
}

/// "" where neither credit nor learning changes anything of a model in training mode, and credit nothing of the source.
template <class Rule>
std::string leaves_models_alone(const Rule& rule) {
  for (const auto kind : {Kind::batch_norm, Kind::dropout, Kind::conv, Kind::tokens, Kind::no_embed}) {
    auto model = stages(kind);
    const auto batch = batch_for(kind);
    auto state = rule.bind(model, context());
    const auto trace = trace_of(model, batch);
    for (auto& parameter : model->parameters()) parameter.mutable_grad() = torch::ones_like(parameter);
    const auto before = all_of(*model);
    const auto own = kept(state);

    const auto credits = state.credit(model, trace);

    if (!same(before, all_of(*model))) return name(kind) + ": credit changes the model";
    if (!same(own, kept(state))) return name(kind) + ": credit changes the source";
    state.learn(model, trace);
    if (!same(before, all_of(*model))) return name(kind) + ": learning changes the model";
    if (same(own, kept(state))) return name(kind) + ": learning changes nothing";
    for (std::size_t l = 0; l < credits.size(); ++l) {
      const bool wanted = l > 0 || kind != Kind::no_embed;
      if (credits[l].defined() != wanted)
        return name(kind) + ": credit where there is none to give, or none where there is";
      if (wanted && credits[l].sizes() != trace.hidden[l].sizes())
        return name(kind) + ": credit of another shape than h";
      if (wanted && credits[l].requires_grad()) return name(kind) + ": credit on a graph";
    }
  }
  return "";
}

/// "" where nets in float64 start from the numbers of those in float32, and another seed's do not.
template <class Rule>
std::string same_start_in_float64(const Rule& rule) {
  auto single = residual_mlp(), twice = residual_mlp(torch::kFloat64);
  const auto a = rule.bind(single, context()).named_tensors();
  const auto b = rule.bind(twice, context(torch::kFloat64)).named_tensors();
  const auto other = rule.bind(single, context(torch::kFloat32, 8)).named_tensors();
  bool differs = false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!torch::equal(a[i].second, b.at(i).second.to(a[i].second.scalar_type())))
      return a[i].first + " is another in float64";
    differs = differs || !torch::equal(a[i].second, other.at(i).second);
  }
  return differs ? "" : "another seed starts from the same numbers";
}

/// "" where a run that is saved and goes on in another trainer is the run that was not interrupted, to the bit.
template <class Rule>
std::string resumes_to_the_bit(const Rule& rule) {
  const TemporaryFolder folder;
  const auto train = [](auto& trainer) {
    for (std::uint64_t i = 0; i < 3; ++i) {
      const auto batch = batch_for(Kind::residual_mlp, torch::kFloat32, 7, 20 + i);
      trainer.step(batch.x, batch.y);
      trainer.learn(batch.x, batch.y);
    }
  };
  LocalTrainer first(small_model(), rule, {.lr = 1e-2});
  train(first);
  first.save(folder / "checkpoint");
  train(first);

  LocalTrainer resumed(residual_mlp(torch::kFloat32, 9), rule, {.lr = 1e-2, .seed = 99});
  train(resumed);
  if (same(copies(first.model()->parameters()), copies(resumed.model()->parameters())))
    return "two runs of one kind: nothing to see";
  resumed.load(folder / "checkpoint");
  train(resumed);

  if (!same(copies(first.model()->parameters()), copies(resumed.model()->parameters()))) return "the model is another";
  return same(kept(first.state()), kept(resumed.state())) ? "" : "the source is another";
}

/// "" where learn's gradients are those of the sum of losses() by finite differences, at some numbers of each
/// parameter; the rule must have lr 0 and no clipping, the model be of float64.
template <class Rule, class Model>
std::string learns_down_its_losses(const Rule& rule, Model model, const Batch& batch) {
  const auto bound = context(torch::kFloat64);
  auto state = rule.bind(model, bound);
  const auto trace = trace_of(model, batch);
  const auto start = bound.generator.get_state();
  const auto from_start = [&](const auto& action) {
    torch::Generator(bound.generator).set_state(start);
    return action();
  };
  from_start([&] { state.learn(model, trace); });

  const auto loss = [&] {
    return from_start([&] {
      double sum = 0;
      for (const auto& part : state.losses(model, trace)) sum += part.template item<double>();
      return sum;
    });
  };
  std::size_t checked = 0;
  for (const auto& parameter : state.nets.parameters()) {
    if (!parameter.grad().defined()) continue;
    const auto numbers = parameter.data().view(-1), slopes = parameter.grad().view(-1);
    for (const std::int64_t i : {std::int64_t{0}, numbers.numel() / 2, numbers.numel() - 1}) {
      const double at = numbers[i].template item<double>(), h = 1e-5;
      numbers[i] = at + h;
      const double above = loss();
      numbers[i] = at - h;
      const double below = loss();
      numbers[i] = at;
      const double expected = (above - below) / (2 * h), found = slopes[i].template item<double>();
      if (std::abs(expected - found) > 1e-6 * std::max(1.0, std::abs(expected))) {
        return c10::str("a gradient is ", found, ", by finite differences ", expected);
      }
      ++checked;
    }
  }
  return checked > 10 ? "" : "no gradients";
}

/// What joint norms the gradients of each net have after one learn.
template <class State>
std::vector<double> gradient_norms(const State& state) {
  std::vector<double> norms;
  for (std::size_t i = 0; i < state.nets.size(); ++i) {
    double sum = 0;
    for (const auto& parameter : state.nets[i]->parameters()) {
      if (parameter.grad().defined()) sum += parameter.grad().square().sum().template item<double>();
    }
    norms.push_back(std::sqrt(sum));
  }
  return norms;
}

/// dloss/dh.
inline torch::Tensor slope(const torch::Tensor& loss, const torch::Tensor& h) {
  return torch::autograd::grad({loss}, {h})[0];
}

/// A row of a tensor as a batch of one.
inline torch::Tensor row(const torch::Tensor& t, std::int64_t b) { return t.narrow(0, b, 1); }

/// The loss of one sample from h_l = h (1, ...) on, by torch's own cross-entropy.
template <class Model>
double sample_loss(Model& model, std::int64_t l, torch::Tensor h, const torch::Tensor& label) {
  const torch::NoGradGuard no_grad;
  for (; l < model->blocks(); ++l) h = model->join(l, h, model->block(l, h));
  return torch::nn::functional::cross_entropy(model->readout(h), label).template item<double>();
}

}  // namespace creditlib::test
