// SPDX-License-Identifier: Apache-2.0
#include <creditlib/any_trainer.hpp>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/local_trainer.hpp>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../laws/every_rule.hpp"
#include "any_model.hpp"
#include "fake_device.hpp"

using namespace creditlib;
using namespace creditlib::test;

// Every rule of the laws on every model of theirs, by formula and by autograd: on the fake device as on the CPU.
namespace {

using MakeTrainer = AnyTrainer (*)(const AnyModel&, const TrainerOptions&);

struct NamedRule {
  std::string name;
  MakeTrainer make;
  std::string (*refusal)(Kind);
  bool constant_memory;
};

template <class Rule>
NamedRule named_rule() {
  auto name = c10::demangle(typeid(Rule).name());
  for (const std::string part : {"creditlib::test::", "creditlib::"}) {
    for (auto at = name.find(part); at != std::string::npos; at = name.find(part)) name.erase(at, part.size());
  }
  return {name,
          [](const AnyModel& model, const TrainerOptions& options) -> AnyTrainer {
            return creditlib::detail::laws::local_trainer(model, Rule{}, options, CrossEntropy{});
          },
          [](Kind kind) { return refusal<Rule>(kind); }, reads_error_only<Rule>};
}
template <class... EveryRule>
std::vector<NamedRule> named_rules(const std::tuple<EveryRule...>*) {
  std::vector<NamedRule> rules{{"back-propagation",
                                [](const AnyModel& model, const TrainerOptions& options) -> AnyTrainer {
                                  return BackpropTrainer(model, options);
                                },
                                [](Kind) { return std::string(); }, false}};
  (rules.push_back(named_rule<EveryRule>()), ...);
  return rules;
}

AnyModel model_on(Kind kind, bool fake) {
  auto model = kind == Kind::residual_mlp ? any_model(lively(residual_mlp(torch::kFloat64), torch::kFloat64))
                                          : any_model(stages(kind, torch::kFloat64));
  if (fake) model->to(fake_device::device());
  return model;
}

struct Run {
  std::vector<std::pair<std::string, torch::Tensor>> end;  ///< all that the steps have changed, on the CPU
  std::vector<std::string> host_reads;                     ///< in the last step
  std::vector<std::string> races;                          ///< in the last step
};

constexpr int steps = 3;

Run run(const NamedRule& rule, Kind kind, const TrainerOptions& options, bool fake) {
  const auto device = fake ? fake_device::device() : torch::Device(torch::kCPU);
  auto trainer = rule.make(model_on(kind, fake), options);
  Run result;
  torch::manual_seed(5);
  fake_device::seed(5);
  for (int i = 0; i < steps; ++i) {
    auto [x, y] = [&] {
      const scope::RestoredGlobalGenerators restored(torch::kCPU);
      return batch_for(kind, torch::kFloat64, 7, static_cast<std::uint64_t>(i));
    }();
    x = x.to(device);
    y = y.to(device);
    fake_device::clear();
    const auto [loss, correct] = trainer.step(x, y);
    if (i + 1 == steps) result.host_reads = fake_device::log().host_reads, result.races = fake_device::log().races;
    result.end.emplace_back("loss of step " + std::to_string(i), loss.cpu());
    result.end.emplace_back("correct of step " + std::to_string(i), correct.cpu());
  }
  trainer.end_epoch();
  for (const auto& [name, t] : trainer.named_parameters()) {
    result.end.emplace_back(name, t.detach().cpu());
    result.end.emplace_back(name + ".grad", t.grad().defined() ? t.grad().cpu() : torch::Tensor());
  }
  for (const auto& t : trainer.module().buffers()) result.end.emplace_back("a buffer", t.cpu());
  for (const auto& [name, t] : trainer.credit_tensors())
    result.end.emplace_back("credit." + name, t.detach().cpu().clone());
  return result;
}

/// "" or what differs by more than rounding. (The learning rate is a float32 on a device.)
std::string difference(const Run& a, const Run& b) {
  if (a.end.size() != b.end.size()) return "another number of tensors";
  for (std::size_t i = 0; i < a.end.size(); ++i) {
    const auto& [name, x] = a.end[i];
    const auto& y = b.end[i].second;
    if (x.defined() != y.defined()) return name + " is there on one device only";
    if (!x.defined()) continue;
    if (x.sizes() != y.sizes() || x.scalar_type() != y.scalar_type()) return name + " has another type";
    const auto apart = (x.to(torch::kFloat64) - y.to(torch::kFloat64)).abs().max().item<double>();
    const auto size = std::max(1.0, x.to(torch::kFloat64).abs().max().item<double>());
    if (!(apart <= 1e-6 * size)) return c10::str(name, " differs by ", apart);
  }
  return "";
}

}  // namespace

TEST_CASE("on the fake device every rule trains every model as on the CPU, and no step waits", "[fake_device]") {
  for (const auto& rule : named_rules(static_cast<const Rules*>(nullptr))) {
    for (const auto kind : every_kind) {
      if (!rule.refusal(kind).empty()) continue;
      std::vector<std::pair<std::string, TrainerOptions>> ways{
          {"by autograd", {.clip_norm = 1.0, .seed = 7, .path = Path::Generic}}};
      if (has_closed_form(kind)) {
        ways.emplace_back("by formula", TrainerOptions{.clip_norm = 1.0, .seed = 7, .path = Path::ClosedForm});
        if (rule.constant_memory)
          ways.emplace_back("in constant memory", TrainerOptions{.seed = 7, .memory = Memory::Constant});
      }
      for (const auto& [way, options] : ways) {
        INFO(rule.name << " on " << name(kind) << " " << way);
        try {
          const auto expected = run(rule, kind, options, false), found = run(rule, kind, options, true);
          CHECK(difference(expected, found) == "");
          CHECK(found.races == std::vector<std::string>{});
          CHECK(found.host_reads == std::vector<std::string>{});
        } catch (const std::exception& error) {
          const std::string said = error.what();
          FAIL_CHECK(said.substr(0, said.find("Exception raised from")));
        }
      }
    }
  }
}
