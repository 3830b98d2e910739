// SPDX-License-Identifier: Apache-2.0
#include "support/stepper.hpp"

#include <algorithm>
#include <creditlib/error.hpp>
#include <optional>
#include <utility>

#include "registry/networks.hpp"
#include "registry/rules.hpp"

namespace bench {

/// rule_trainers.hpp, compiled in stepper_*.cpp.
template <class Model>
Stepper stepper_on(Model model, const Settings& settings, bool mean_over_positions);

namespace {

constexpr std::int64_t channels = 3, image = 32;

/// Copies values into the tensors of their names.
void put(const char* owner, const creditlib::NamedTensors& into, const creditlib::NamedTensors& values) {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, value] : values) {
    const auto found = std::ranges::find(into, name, [](const auto& entry) { return entry.first; });
    if (found == into.end() || found->second.sizes() != value.sizes()) {
      throw creditlib::Error(c10::str(owner, " has no ", name, " of the sizes ", value.sizes()));
    }
    torch::Tensor(found->second).copy_(value);
  }
}

Stepper seeded(const Settings& s) {
  torch::manual_seed(1);
  return make_stepper(s);
}

}  // namespace

const std::vector<std::string>& rules() {
  static const auto names = [] {
    auto all = registry::rule_names();
    all.insert(std::find(all.begin(), all.end(), "dfa") + 1, "dfa_dense");
    return all;
  }();
  return names;
}

Stepper make_stepper(const Settings& s, const Start& start) {
  if (std::find(rules().begin(), rules().end(), s.rule) == rules().end()) {
    std::string names;
    for (const auto& name : rules()) names += " " + name;
    throw creditlib::Error("there is no rule " + s.rule + ", only" + names);
  }
  std::optional<Stepper> stepper;
  registry::with_network(s.model, [&](const auto& network) {
    auto model =
        network.make({.classes = s.classes, .channels = channels, .side = image, .width = s.width, .blocks = s.blocks});
    model->to(torch::Device(s.device));
    stepper = stepper_on(model, s, network.facts.mean_over_positions);
  });
  if (!stepper) throw creditlib::Error("there is no network " + s.model);
  put("the network", stepper->trainer.named_parameters(), start.weights);
  put("the rule", stepper->trainer.credit_tensors(), start.credit);
  return std::move(*stepper);
}

StepLoop::StepLoop(const Settings& s, int batches) : device_(s.device), stepper_(seeded(s)) {
  for (int i = 0; i < batches; ++i) {
    auto x = torch::randn({s.batch, channels, image, image});
    if (s.model == "resmlp") x = x.flatten(1);
    batches_.emplace_back(x.to(device_), torch::randint(s.classes, {s.batch}, torch::kInt64).to(device_));
  }
}

std::string StepLoop::use_graphs() {
  graphed_ = stepper_.graphed(trainer());
  return graphed_.why_not;
}

std::size_t StepLoop::batch_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [x, y] : batches_) bytes += x.nbytes() + y.nbytes();
  return bytes;
}

}  // namespace bench
