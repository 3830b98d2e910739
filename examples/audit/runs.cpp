// SPDX-License-Identifier: Apache-2.0
#include "audit/runs.hpp"

#include <fmt/format.h>
#include <torch/utils.h>

#include <creditlib/audit/verdict.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "audit/checks.hpp"
#include "support/figures.hpp"
#include "support/methods.hpp"
#include "support/settling.hpp"
#include "support/training.hpp"

namespace audit {
namespace {

namespace diagnostics = creditlib::diagnostics;
namespace protocol = creditlib::protocol;
using Json = nlohmann::ordered_json;

/// The rule as the run had it that saved the weights: where it estimates credit, how equilibrium propagation settles.
void become_saved(support::MethodSettings& settings, const std::map<std::string, std::string>& saved) {
  const auto said = [&](const char* key) {
    const auto found = saved.find(key);
    return found == saved.end() ? std::string() : found->second;
  };
  if (said("credit_point") == "input") settings.rule.estimate_at(creditlib::CreditPoint::BlockInput);
  const auto config = Json::parse(said("config"), nullptr, /*allow_exceptions=*/false);  // cnn_baseline's
  if (config.is_object() && config.contains("ep_inner")) settings.rule.ep = support::settling(config);
}

support::Trainer make_trainer(const Settings& s, const support::Workbench& bench, const std::string& method,
                              std::int64_t epochs, std::int64_t seed, const std::string& from = {}) {
  torch::manual_seed(static_cast<std::uint64_t>(seed));
  support::MethodSettings settings{.options = {.lr = s.lr, .weight_decay = s.wd, .epochs = epochs, .seed = seed},
                                   .penalty = s.penalty_lam};
  if (s.clip > 0) settings.options.clip_norm = s.clip;
  if (!from.empty()) become_saved(settings, s.saved);
  return support::make_trainer(s.arch, method, bench, settings, from);
}

/// Trains with the batches of the seed. `name` is the run's in progress lines and in its checkpoint's file name.
void train(const Settings& s, const support::Workbench& bench, support::Trainer& trainer, const std::string& name,
           std::int64_t seed, std::optional<std::uint64_t> random_labels, Json* record,
           const std::function<void(const support::TrainingLog&, std::int64_t)>& after_epoch) {
  const bool flat = support::takes_flat_images(s.arch);
  auto batches = bench.train_batches(seed, flat);
  auto test = bench.test_batches(flat);
  const auto file = fmt::format("checkpoint_{}_{}_s{}.pt", s.name(), name, seed);
  const support::TrainingPlan plan{.title = fmt::format("{}, seed {}", name, seed),
                                   .quiet = s.run.quiet,
                                   .allow_nonfinite = true,
                                   .tensorboard = s.run.tensorboard,
                                   .random_labels = random_labels,
                                   .eval_batch = bench.first_test_samples(128, flat),
                                   .checkpoint = {.path = std::filesystem::path(s.output_dir) / file,
                                                  .settings = support::fixed_settings(config(s), s.resume()),
                                                  .record = record,
                                                  .retrain = s.retrain,
                                                  .flags = s.run.checkpoints}};
  support::train(trainer, batches, test, plan, after_epoch);
}

/// What was looked at, epoch by epoch, as a history of checks.
creditlib::audit::FiringHistory history_of(const Json& looked) {
  creditlib::audit::FiringHistory history;
  for (const auto& look : looked) {
    std::vector<creditlib::audit::Check> checks;
    for (const auto& check : look.at("checks")) checks.push_back(check_of(check));
    history.record(look.at("epoch").get<std::int64_t>(), std::move(checks));
  }
  return history;
}

}  // namespace

Json audited_run(const Settings& s, const support::Workbench& bench, std::int64_t seed) {
  const bool flat = support::takes_flat_images(s.arch);
  const auto looks = looks_of(bench, flat);
  auto trainer = make_trainer(s, bench, s.method, s.epochs, seed, s.from);
  Json looked = Json::array();
  const auto look = [&](std::int64_t epoch, const std::vector<diagnostics::Measured>& norms_at_init) {
    Json checks = Json::array();
    for (const auto& check : checks_of(trainer, looks, norms_at_init)) checks.push_back(json_of(check));
    looked.push_back({{"epoch", epoch}, {"checks", checks}});
  };
  double accuracy = 0;
  Json transitions = Json::array();
  if (!s.from.empty()) {
    while (trainer.epoch() < s.epochs) trainer.end_epoch();  // a schedule is where a run that is over left it
    const diagnostics::Measured unknown{.reason = "what the network was at its start is not known"};
    look(0, std::vector<diagnostics::Measured>(static_cast<std::size_t>(trainer.model().blocks()) + 1, unknown));
    auto test = bench.test_batches(flat);
    accuracy = support::accuracy(trainer, test);
  } else {
    const auto at_init = hidden_norms(trainer, looks);
    train(s, bench, trainer, s.method, seed, std::nullopt, &looked,
          [&](const support::TrainingLog& log, std::int64_t epoch) {
            look(epoch, at_init);
            transitions = support::transitions_json(log);
            accuracy = log.test_acc.back();
          });
  }

  const auto history = history_of(looked);
  Json json{{"seed", seed},
            {"test_acc", accuracy},
            {"checks", looked.back().at("checks")},
            {"first_fired", Json::object()},
            {"epochs", Json::array()},
            {"transitions", transitions}};
  for (const auto& name : history.names()) {
    const auto epoch = history.first_fired(name);
    json["first_fired"][name] = epoch ? Json(*epoch) : Json(nullptr);
  }
  for (const auto& [epoch, checks] : history.epochs()) {
    Json values = Json::object();
    for (const auto& check : checks) values[check.name] = support::value(check.value);
    json["epochs"].push_back({{"epoch", epoch}, {"values", values}});
  }
  if (s.null_draws > 0) json["fresh_feedback"] = fresh_feedback(trainer, looks.batch, s.null_draws);
  return json;
}

Json control_run(const Settings& s, const support::Workbench& bench, const std::string& control, std::int64_t seed) {
  auto trainer = make_trainer(s, bench, control, s.epochs, seed);
  double accuracy = 0;
  train(s, bench, trainer, control, seed, std::nullopt, nullptr,
        [&](const support::TrainingLog& log, std::int64_t) { accuracy = log.test_acc.back(); });
  return {{"seed", seed}, {"test_acc", accuracy}};
}

Json random_label_run(const Settings& s, const support::Workbench& bench, std::int64_t seed) {
  const auto looks = looks_of(bench, support::takes_flat_images(s.arch));
  auto trainer = make_trainer(s, bench, s.method, s.random_label_epochs, seed);
  Json json{{"seed", seed}, {"epochs", s.random_label_epochs}};
  train(s, bench, trainer, s.method + "_random_labels", seed, static_cast<std::uint64_t>(seed), nullptr,
        [&](const support::TrainingLog& log, std::int64_t) {
          json["test_acc"] = log.test_acc.back();
          json["hidden_norms"] = support::values(hidden_norms(trainer, looks));
        });
  return json;
}

}  // namespace audit
