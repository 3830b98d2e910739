// Audits a credit rule: whether its figures may be believed, and whether training depth with it is worth anything
// (docs/experiments/audit.md, docs/protocol.md).

#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/eval_mode.hpp>
#include <creditlib/diagnostics/feedback_null.hpp>
#include <creditlib/diagnostics/norms.hpp>
#include <creditlib/io/json_file.hpp>
#include <creditlib/io/safetensors.hpp>
#include <creditlib/protocol/depth_utility.hpp>
#include <creditlib/protocol/gradient_stability.hpp>
#include <creditlib/protocol/reference_validity.hpp>
#include <creditlib/protocol/scale_growth.hpp>
#include <creditlib/protocol/verdict.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "support/figures.hpp"
#include "support/methods.hpp"
#include "support/program.hpp"
#include "support/training.hpp"
#include "support/workbench.hpp"

namespace {

namespace diagnostics = creditlib::diagnostics;
namespace protocol = creditlib::protocol;
using creditlib::data::Batch;
using Json = nlohmann::ordered_json;

struct Settings {
  std::string arch = "resmlp", method = "dfa", output_dir = "results/audit", from = {};
  std::vector<std::int64_t> seeds{42};
  std::int64_t epochs = 30, null_draws = 20, random_label_epochs = 0;
  double lr = 1e-3, wd = 0.01, clip = 0, penalty_lam = 0;
  bool no_controls = false;
  support::RunFlags run = {};
};

void add_flags(CLI::App& app, Settings& s) {
  using support::flag;
  app.add_option("--method", s.method, "the rule to audit")->check(CLI::IsMember(support::method_names()))->capture_default_str();
  app.add_option("--arch", s.arch, "the network")->check(CLI::IsMember(support::arch_names()))->capture_default_str();
  app.add_option("--from", s.from, "audit these saved weights (safetensors) as they are instead of a run of its own");
  app.add_option("--seeds", s.seeds, "a run each; D3 compares them in pairs")->expected(1, -1)->capture_default_str();
  app.add_option("--epochs", s.epochs, "of every run")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--lr", s.lr, "AdamW's learning rate")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--wd", s.wd, "AdamW's weight decay")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--clip", s.clip, "clips each block's gradient norm to this (0: not at all)")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option(flag("penalty_lam"), s.penalty_lam, "adds this times the mean of ||f_l||^2 to each block's loss")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option(flag("null_draws"), s.null_draws, "fresh feedback draws that Gamma is compared with (0: none)")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option(flag("random_label_epochs"), s.random_label_epochs, "epochs of the random-label control (0: none)")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_flag(flag("no_controls"), s.no_controls, "do not train the frozen and shallow controls; D3 is then not measured");
  app.add_option(flag("output_dir"), s.output_dir, "where audit_{dataset}_{arch}_{method}.json goes")->capture_default_str();
  support::add_run_flags(app, s.run);
}

Json config(const Settings& s) {
  return {{"arch", s.arch}, {"method", s.method}, {"from", s.from}, {"seeds", s.seeds}, {"epochs", s.epochs}, {"lr", s.lr}, {"wd", s.wd},
          {"clip", s.clip}, {"penalty_lam", s.penalty_lam}, {"null_draws", s.null_draws}, {"random_label_epochs", s.random_label_epochs},
          {"dataset", s.run.dataset}, {"batch_size", s.run.batch_size}, {"limit_train", s.run.limit_train}, {"output_dir", s.output_dir}};
}

support::MethodSettings method_settings(const Settings& s, std::int64_t seed, std::int64_t epochs) {
  support::MethodSettings m{.options = {.lr = s.lr, .weight_decay = s.wd, .epochs = epochs, .seed = seed}, .penalty = s.penalty_lam, .batch_size = s.run.batch_size};
  if (s.clip > 0) m.options.clip_norm = s.clip;
  return m;
}

Json to_json(const protocol::Check& check) {
  Json json{{"name", check.name}, {"meaning", check.meaning}, {"value", support::value(check.value)},
            {"fires", check.fires == protocol::Fires::Above ? "above" : "below"}, {"threshold", check.threshold},
            {"fired", check.fired ? Json(*check.fired) : Json(nullptr)}};
  if (check.interval) json["interval"] = {check.interval->low, check.interval->high};
  if (!check.value.value) json["reason"] = check.value.reason;
  return json;
}

/// The data that every look uses: the first test samples, and disjoint batches of the test set.
struct Looks {
  Batch batch;
  std::vector<Batch> disjoint;
};

Looks looks_of(const support::Workbench& bench, bool flat) {
  Looks looks{bench.first_test_samples(128, flat), {}};
  const auto& test = bench.splits().test;
  const std::int64_t size = std::min<std::int64_t>(128, std::max<std::int64_t>(1, test.size() / 8));
  creditlib::data::Batches batches(test, {.batch_size = size, .shuffle = false, .flatten = flat, .drop_last = true});
  for (const auto& batch : batches) {
    looks.disjoint.push_back(batch);
    if (looks.disjoint.size() == 16) break;
  }
  return looks;
}

/// D1, D2 and stability, as published and as they should be, in eval mode.
std::vector<protocol::Check> checks_of(support::AnyTrainer& trainer, const Looks& looks, const std::vector<diagnostics::Measured>& norms_at_init) {
  auto& model = trainer.model();
  const diagnostics::EvalMode eval(model.module());
  const auto& [x, y] = looks.batch;
  const auto hidden = model.hidden_states(x);
  const auto norms = diagnostics::median_norms(hidden);
  const auto gradients = model.true_gradients(x, y);
  std::vector<protocol::Check> checks{protocol::scale_growth(norms)};
  if (!norms_at_init.empty()) checks.push_back(protocol::scale_growth_since_init(norms, norms_at_init));
  checks.push_back(protocol::reference_validity(gradients.back()));
  checks.push_back(protocol::reference_sensitivity(hidden.back(), gradients.back()));
  checks.push_back(protocol::reference_agreement(model.precision_agreement(x, y)));
  checks.push_back(protocol::gradient_stability(model.stability(looks.disjoint)));
  return checks;
}

/// Gamma of the rule at each block's output, beside what fresh feedback would give.
Json null_of(support::AnyTrainer& trainer, const Batch& batch, std::int64_t draws) {
  const diagnostics::EvalMode eval(trainer.model().module());
  const auto gradients = trainer.model().true_gradients(batch.input, batch.target);
  const auto nulls = diagnostics::feedback_null_alignment(
      trainer.raw_credits(batch.input, batch.target), gradients,
      [&](std::uint64_t seed) { return trainer.with_seed(static_cast<std::int64_t>(seed))->raw_credits(batch.input, batch.target); }, {.draws = draws});
  Json json = Json::array();
  for (std::size_t l = 1; l < nulls.size(); ++l) {
    json.push_back({{"hidden_state", l}, {"gamma", support::value(nulls[l].own)}, {"fresh_mean", support::value(nulls[l].mean)},
                    {"fresh_deviation", support::value(nulls[l].deviation)}, {"score", support::value(nulls[l].score)}, {"p", support::value(nulls[l].p)},
                    {"fresh", nulls[l].draws}});
  }
  return json;
}

/// One run to audit, epoch by epoch, or the saved weights as they are.
struct Audited {
  protocol::FiringHistory history;
  std::vector<protocol::Check> checks;  ///< at the end
  double accuracy = 0;
  Json json;
};

Audited audit_run(const Settings& s, const support::Workbench& bench, std::int64_t seed) {
  const bool flat = support::takes_flat_images(s.arch);
  const auto looks = looks_of(bench, flat);
  torch::manual_seed(static_cast<std::uint64_t>(seed));
  const auto trainer = support::make_trainer(s.arch, s.method, bench, method_settings(s, seed, s.epochs), s.from);
  auto test = bench.test_batches(flat);
  Audited audited;
  if (!s.from.empty()) {
    audited.checks = checks_of(*trainer, looks, {});
    audited.history.record(0, audited.checks);
    audited.accuracy = support::accuracy(*trainer, test);
  } else {
    std::vector<diagnostics::Measured> at_init;
    {
      const diagnostics::EvalMode eval(trainer->model().module());
      at_init = diagnostics::median_norms(trainer->model().hidden_states(looks.batch.input));
    }
    auto batches = bench.train_batches(seed, flat);
    const support::TrainingPlan plan{.title = fmt::format("{}, seed {}", s.method, seed), .quiet = s.run.quiet, .allow_nonfinite = true};
    support::train(*trainer, batches, test, plan, [&](const support::TrainingLog& log, std::int64_t epoch) {
      audited.checks = checks_of(*trainer, looks, at_init);
      audited.history.record(epoch, audited.checks);
      audited.accuracy = log.test_acc.back();
    });
  }
  audited.json = {{"seed", seed}, {"test_acc", audited.accuracy}, {"checks", Json::array()}, {"first_fired", Json::object()}, {"epochs", Json::array()}};
  for (const auto& check : audited.checks) audited.json["checks"].push_back(to_json(check));
  for (const auto& name : audited.history.names()) {
    const auto epoch = audited.history.first_fired(name);
    audited.json["first_fired"][name] = epoch ? Json(*epoch) : Json(nullptr);
  }
  for (const auto& [epoch, checks] : audited.history.epochs()) {
    Json values = Json::object();
    for (const auto& check : checks) values[check.name] = support::value(check.value);
    audited.json["epochs"].push_back({{"epoch", epoch}, {"values", values}});
  }
  if (s.null_draws > 0) audited.json["fresh_feedback"] = null_of(*trainer, looks.batch, s.null_draws);
  return audited;
}

/// Test accuracy of a control with the same settings and seed.
double control_accuracy(const Settings& s, const support::Workbench& bench, const std::string& control, std::int64_t seed) {
  const bool flat = support::takes_flat_images(s.arch);
  torch::manual_seed(static_cast<std::uint64_t>(seed));
  const auto trainer = support::make_trainer(s.arch, control, bench, method_settings(s, seed, s.epochs));
  auto batches = bench.train_batches(seed, flat);
  auto test = bench.test_batches(flat);
  double accuracy = 0;
  const support::TrainingPlan plan{.title = fmt::format("{}, seed {}", control, seed), .quiet = s.run.quiet, .allow_nonfinite = true};
  support::train(*trainer, batches, test, plan, [&](const support::TrainingLog& log, std::int64_t) { accuracy = log.test_acc.back(); });
  return accuracy;
}

/// The rule on labels drawn anew for every batch: what it does to the network when there is nothing to learn.
Json random_labels(const Settings& s, const support::Workbench& bench, std::int64_t seed) {
  const bool flat = support::takes_flat_images(s.arch);
  const auto looks = looks_of(bench, flat);
  torch::manual_seed(static_cast<std::uint64_t>(seed));
  const auto trainer = support::make_trainer(s.arch, s.method, bench, method_settings(s, seed, s.random_label_epochs));
  auto batches = bench.train_batches(seed, flat);
  auto test = bench.test_batches(flat);
  Json json{{"seed", seed}, {"epochs", s.random_label_epochs}};
  const support::TrainingPlan plan{.title = fmt::format("{}, random labels, seed {}", s.method, seed), .quiet = s.run.quiet, .allow_nonfinite = true,
                                   .random_labels = static_cast<std::uint64_t>(seed)};
  support::train(*trainer, batches, test, plan, [&](const support::TrainingLog& log, std::int64_t) {
    const diagnostics::EvalMode eval(trainer->model().module());
    json["test_acc"] = log.test_acc.back();
    json["hidden_norms"] = support::values(diagnostics::median_norms(trainer->model().hidden_states(looks.batch.input)));
  });
  return json;
}

std::string figure(const protocol::Check& check) {
  const std::string value = check.value.value ? fmt::format("{:.3g}", *check.value.value) : "null (" + check.value.reason + ")";
  const std::string interval = check.interval ? fmt::format(" [{:.3g}, {:.3g}]", check.interval->low, check.interval->high) : "";
  return value + interval;
}

void run(const Settings& s) {
  if (!s.from.empty() && s.seeds.size() > 1) throw support::UsageError("--from audits one network; give one seed, the one that it was trained with");
  creditlib::io::check_writable_folder(s.output_dir);
  const support::Workbench bench(s.run);
  const auto path = std::filesystem::path(s.output_dir) / fmt::format("audit_{}_{}_{}.json", s.run.dataset, s.arch, s.method);
  Json results{{"config", config(s)}, {"environment", support::environment(bench.device())}, {"verdict", nullptr}, {"runs", Json::array()}};

  std::vector<double> accuracies;
  std::vector<protocol::Check> checks;
  std::vector<std::string> first_fired;
  for (const auto seed : s.seeds) {
    auto audited = audit_run(s, bench, seed);
    accuracies.push_back(audited.accuracy);
    results["runs"].push_back(audited.json);
    creditlib::io::write_json(path, results);
    for (auto check : audited.checks) {
      first_fired.push_back(audited.json["first_fired"][check.name].dump());
      if (s.seeds.size() > 1) check.name += fmt::format(" (seed {})", seed);
      checks.push_back(std::move(check));
    }
  }

  if (!s.no_controls) {
    std::vector<std::string> names{"frozen", "frozen_bp"};
    if (support::takes_flat_images(s.arch)) names.push_back("shallow");
    std::vector<protocol::Baseline> baselines;
    for (const auto& name : names) {
      protocol::Baseline baseline{.name = name, .accuracies = {}};
      for (const auto seed : s.seeds) baseline.accuracies.push_back(control_accuracy(s, bench, name, seed));
      results["controls"][name] = baseline.accuracies;
      baselines.push_back(baseline);
      creditlib::io::write_json(path, results);
    }
    const auto published = protocol::depth_utility(accuracies, baselines[0].accuracies);
    const auto over_best = protocol::depth_utility_over_best(accuracies, baselines);
    results["depth_utility"] = {{"published", to_json(published)}, {"over_best", to_json(over_best.check)}, {"best", over_best.best}};
    checks.push_back(published);
    checks.push_back(over_best.check);
    first_fired.resize(checks.size(), "-");
  }
  if (s.random_label_epochs > 0) {
    for (const auto seed : s.seeds) results["random_labels"].push_back(random_labels(s, bench, seed));
  }

  const auto verdict = protocol::verdict(checks);
  results["verdict"] = {{"text", verdict.text()}, {"passed", verdict.passed}, {"fired", verdict.fired}, {"not_measured", verdict.not_measured}};
  creditlib::io::write_json(path, results);

  support::Table table({"check", "value", "fires", "fired", "first in epoch"});
  for (std::size_t i = 0; i < checks.size(); ++i) {
    const auto& check = checks[i];
    table.add({check.name, figure(check), fmt::format("{} {:.3g}", check.fires == protocol::Fires::Above ? "above" : "below", check.threshold),
               check.fired ? (*check.fired ? "yes" : "no") : "not measured", first_fired[i]});
  }
  fmt::print("\n{} on {}, {}, test accuracy {}\n{}", s.method, s.run.dataset, s.arch, support::mean_and_deviation(accuracies, 4), table.text());
  for (const auto& one : results["runs"]) {
    if (!one.contains("fresh_feedback")) continue;
    fmt::print("Gamma against {} fresh draws of feedback, seed {}:", s.null_draws, one["seed"].dump());
    for (const auto& entry : one["fresh_feedback"]) fmt::print("  h_{} {} (p {})", entry["hidden_state"].dump(), entry["gamma"].is_null() ? "null" : fmt::format("{:.4f}", entry["gamma"].get<double>()), entry["p"].is_null() ? "null" : fmt::format("{:.3f}", entry["p"].get<double>()));
    fmt::print("\n");
  }
  if (results.contains("random_labels")) fmt::print("random labels: |h_l| {}\n", results["random_labels"][0]["hidden_norms"].dump());
  fmt::print("verdict: {}\nresults: {}\n", verdict.text(), path.string());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Audits a credit rule: growth of the hidden states (D1), validity of the reference gradient (D2), what depth is worth (D3), and\n"
               "stability; as published and as they should be. Exit code 0 whichever the verdict.", "audit");
  Settings settings;
  add_flags(app, settings);
  return support::run_program(app, argc, argv, [&] { run(settings); });
}
