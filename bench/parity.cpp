// SPDX-License-Identifier: Apache-2.0
// Every rule on every network, on the CPU and on a device: the same numbers, but for rounding?

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <creditlib/error.hpp>
#include <creditlib/runtime/tf32.hpp>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/command_line.hpp"
#include "support/settings.hpp"
#include "support/stepper.hpp"

namespace {

using namespace bench;

constexpr const char* usage =
    R"(parity: steps on a device beside those on the CPU, from the same weights, draws and batches, in float32

  parity [--device cpu|cuda|cuda:N] [--rules A,B,...] [--models A,B,...] [--batch N] [--threads N]

For each rule, network and path: how far the gradients of the first batch, and what three steps change in the parameters,
are from the CPU's, as a root mean square over all numbers, in units of the CPU's own. At most 1e-4 and 1e-2 count as
rounding; rules whose credit is a difference of almost equal numbers (ep, vec, value_net, state_predictor: 5e-2 and 5e-1)
have wider bounds. TF32 is off.
Exit codes: 0; 1 if something differs by more; 2 for wrong flags.
)";

struct Outcome {
  std::vector<torch::Tensor> gradients, movement;
};

Outcome outcome_of(const Settings& settings, const std::vector<std::pair<torch::Tensor, torch::Tensor>>& batches) {
  torch::manual_seed(1);
  auto stepper = make_stepper(settings);
  const torch::Device device(settings.device);
  const auto here = [&](const torch::Tensor& t) { return t.to(device); };
  const auto copies = [](const std::vector<torch::Tensor>& tensors) {
    std::vector<torch::Tensor> copied;
    for (const auto& t : tensors)
      copied.push_back(t.defined() ? t.detach().cpu().to(torch::kFloat64, /*non_blocking=*/false, /*copy=*/true) : t);
    return copied;
  };
  Outcome outcome;
  outcome.gradients = copies(stepper.trainer.gradients(here(batches[0].first), here(batches[0].second)));
  const auto before = copies(stepper.trainer.parameters());
  for (const auto& [x, y] : batches) stepper.trainer.step(here(x), here(y));
  const auto after = copies(stepper.trainer.parameters());
  for (std::size_t i = 0; i < after.size(); ++i) outcome.movement.push_back(after[i] - before[i]);
  return outcome;
}

double distance(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  double apart = 0, whole = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].defined() != b[i].defined()) return INFINITY;
    if (!a[i].defined()) continue;
    apart += (a[i] - b[i]).square().sum().item<double>();
    whole += b[i].square().sum().item<double>();
  }
  return whole == 0 ? (apart == 0 ? 0 : INFINITY) : std::sqrt(apart / whole);
}

int compare(const Settings& base, const std::vector<std::string>& rules, const std::vector<std::string>& models) {
  const std::vector<std::string> differences{"ep", "vec", "value_net", "state_predictor"};
  int wrong = 0;
  std::printf("%-22s %-14s %-16s %12s %12s\n", "rule", "model", "path", "gradients", "movement");
  for (const auto& model : models) {
    torch::manual_seed(2);
    std::vector<std::pair<torch::Tensor, torch::Tensor>> batches;
    for (int i = 0; i < 3; ++i) {
      auto x = torch::randn({base.batch, 3, 32, 32});
      if (model == "resmlp") x = x.flatten(1);
      batches.emplace_back(x, torch::randint(base.classes, {base.batch}, torch::kInt64));
    }
    for (const auto& rule : rules) {
      for (const char* path : {"generic", "closed_form", "constant_memory"}) {
        auto settings = base;
        settings.rule = rule;
        settings.model = model;
        settings.path = path;
        auto reference = settings;
        reference.device = "cpu";
        std::optional<Outcome> expected;
        try {
          expected = outcome_of(reference, batches);
        } catch (const creditlib::Error&) {
          continue;  // the rule does not take the network, or the path
        }
        const bool wide = std::find(differences.begin(), differences.end(), rule) != differences.end();
        std::string said;
        try {
          const auto found = outcome_of(settings, batches);
          const double gradients = distance(found.gradients, expected->gradients);
          const double movement = distance(found.movement, expected->movement);
          const bool holds = gradients <= (wide ? 5e-2 : 1e-4) && movement <= (wide ? 5e-1 : 1e-2);
          if (!holds) ++wrong;
          std::printf("%-22s %-14s %-16s %12.1e %12.1e%s\n", rule.c_str(), settings.model_name().c_str(), path,
                      gradients, movement, holds ? "" : "  DIFFERS");
        } catch (const std::exception& error) {
          said = error.what();
          ++wrong;
          std::printf("%-22s %-14s %-16s FAILED: %s\n", rule.c_str(), settings.model_name().c_str(), path,
                      said.substr(0, said.find('\n')).c_str());
        }
        std::fflush(stdout);
      }
    }
  }
  std::printf(wrong == 0 ? "all agree\n" : "%d differ\n", wrong);
  return wrong == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, [&](std::vector<std::string>& arguments) {
    if (take_switch(arguments, "--help") || take_switch(arguments, "-h")) {
      std::printf("%s", usage);
      return 0;
    }
    auto rules = bench::rules(), models = bench::models();
    if (take_brief(arguments)) {
      rules = {"bp", "dfa", "vec"};
      models = {"resmlp"};
    }
    take_names(arguments, "--rules", rules);
    take_names(arguments, "--models", models);
    if (std::find(arguments.begin(), arguments.end(), "--batch") == arguments.end()) {
      arguments.insert(arguments.end(), {"--batch", "16"});
    }
    const auto settings = take_common_settings(arguments);
    check_all_taken(arguments);
    settings.apply();
    creditlib::runtime::use_tf32(false);
    return compare(settings, rules, models);
  });
}
