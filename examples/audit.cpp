// SPDX-License-Identifier: Apache-2.0
// Audits a credit rule: whether its figures may be believed, and whether training depth with it is worth anything
// (docs/experiments/audit.md, docs/protocol.md).

#include <fmt/format.h>

#include <algorithm>
#include <creditlib/audit/depth_utility.hpp>
#include <creditlib/audit/verdict.hpp>
#include <creditlib/io/safetensors.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "audit/checks.hpp"
#include "audit/runs.hpp"
#include "audit/settings.hpp"
#include "support/figures.hpp"
#include "support/methods.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/table.hpp"
#include "support/training.hpp"
#include "support/workbench.hpp"

namespace {

namespace protocol = creditlib::protocol;
using audit::Settings;
using Json = nlohmann::ordered_json;

std::string figure(const creditlib::audit::Check& check) {
  const std::string value =
      check.value.value ? fmt::format("{:.3g}", *check.value.value) : "null (" + check.value.reason + ")";
  const std::string interval =
      check.interval ? fmt::format(" [{:.3g}, {:.3g}]", check.interval->low, check.interval->high) : "";
  return value + interval;
}

/// A check with the first epoch in which it fired, as text.
struct Row {
  creditlib::audit::Check check;
  std::string first_fired;
};

class Audit {
 public:
  explicit Audit(const Settings& s) : s_(s), file_(std::filesystem::path(s.output_dir) / (s.name() + ".json")) {
    Json settings = audit::config(s);
    const Json earlier = support::earlier_results(file_, settings, s.resume());
    const auto kept = [&](const std::string& key, const Json& otherwise) -> Json {
      return earlier.contains(key) ? earlier[key] : otherwise;
    };
    results_["config"] = settings;
    results_["environment"] = nullptr;
    results_["verdict"] = kept("verdict", nullptr);
    // Saved weights are looked at anew every time: it takes no training, and the file may be another by now.
    results_["runs"] = s.from.empty() ? kept("runs", Json::array()) : Json::array();
    results_["controls"] = kept("controls", Json::object());
    results_["depth_utility"] = kept("depth_utility", nullptr);
    results_["random_labels"] = kept("random_labels", Json::array());
  }

  void run() {
    const support::Workbench bench(s_.run);
    const Json before = results_;
    results_["environment"] = support::environment(bench.device());

    for (const auto seed : s_.seeds) {
      const Json& run = made(s_.method, seed, results_["runs"], [&] { return audit::audited_run(s_, bench, seed); });
      add_checks(run, seed);
    }
    if (!s_.no_controls) measure_depth(bench);
    for (const auto seed : s_.seeds) {
      if (s_.random_label_epochs == 0) break;
      made(s_.method + ", random labels", seed, results_["random_labels"],
           [&] { return audit::random_label_run(s_, bench, seed); });
    }
    judge();
    // A file that says all this already keeps the environment that it was made in.
    Json after = results_;
    after["environment"] = nullptr;
    if (after != before) write();
    report();
  }

 private:
  /// The seed's entry of `list`: an earlier run's, or a new one, which is written at once.
  template <class Make>
  const Json& made(const std::string& what, std::int64_t seed, Json& list, const Make& make) {
    for (const auto& entry : list) {
      if (entry.at("seed").get<std::int64_t>() != seed) continue;
      support::say_kept(fmt::format("{}, seed {}", what, seed));
      return entry;
    }
    list.push_back(make());
    results_["verdict"] = nullptr;
    write();
    return list.back();
  }

  void add_checks(const Json& run, std::int64_t seed) {
    accuracies_.push_back(run.at("test_acc").get<double>());
    for (const auto& json : run.at("checks")) {
      auto check = audit::check_of(json);
      const auto first_fired = run.at("first_fired").at(check.name).dump();
      if (s_.seeds.size() > 1) check.name += fmt::format(" (seed {})", seed);
      rows_.push_back({check, first_fired});
    }
    runs_.push_back(run);
  }

  void measure_depth(const support::Workbench& bench) {
    std::vector<std::string> names{"frozen", "frozen_bp"};
    if (support::has_shallow(s_.arch)) names.push_back("shallow");
    std::vector<creditlib::audit::Baseline> baselines;
    for (const auto& name : names) {
      creditlib::audit::Baseline baseline{.name = name};
      auto& controls = results_["controls"];
      if (!controls.contains(name)) controls[name] = Json::array();
      for (const auto seed : s_.seeds) {
        const Json& run = made(name, seed, controls[name], [&] { return audit::control_run(s_, bench, name, seed); });
        baseline.accuracies.push_back(run.at("test_acc").get<double>());
      }
      baselines.push_back(baseline);
    }
    const auto published = creditlib::audit::depth_utility(accuracies_, baselines[0].accuracies);
    const auto over_best = creditlib::audit::depth_utility_over_best(accuracies_, baselines);
    Json differences = Json::object();
    for (const auto& [name, points] : over_best.differences) differences[name] = audit::json_of(points);
    results_["depth_utility"] = {{"published", audit::json_of(published)},
                                 {"over_best", audit::json_of(over_best.check)},
                                 {"best", over_best.best},
                                 {"differences", differences}};
    rows_.push_back({published, "-"});
    rows_.push_back({over_best.check, "-"});
  }

  void judge() {
    std::vector<creditlib::audit::Check> checks;
    for (const auto& row : rows_) checks.push_back(row.check);
    verdict_ = creditlib::audit::verdict(checks);
    results_["verdict"] = {{"text", verdict_.text()},
                           {"passed", verdict_.passed},
                           {"fired", verdict_.fired},
                           {"not_measured", verdict_.not_measured},
                           {"seeds", s_.seeds}};
    if (s_.no_controls) results_["depth_utility"] = nullptr;
  }

  void write() const { file_.write(results_); }

  void report() const {
    support::Table table({"check", "value", "fires", "fired", "first in epoch"});
    for (const auto& [check, first_fired] : rows_) {
      table.add(
          {check.name, figure(check),
           fmt::format("{} {:.3g}", check.fires == creditlib::audit::Fires::Above ? "above" : "below", check.threshold),
           check.fired ? (*check.fired ? "yes" : "no") : "not measured", first_fired});
    }
    fmt::print("\n{} on {}, {}, test accuracy {}\n{}", s_.method, s_.run.dataset, s_.arch,
               support::mean_and_deviation(accuracies_, 4), table.text());
    const auto text = [](const Json& value, int digits) {
      return value.is_null() ? std::string("null") : fmt::format("{:.{}f}", value.get<double>(), digits);
    };
    for (const auto& run : runs_) {
      if (!run.contains("fresh_feedback")) continue;
      fmt::print("Gamma against {} fresh draws of feedback, seed {}:\n", s_.null_draws, run.at("seed").dump());
      for (const auto& entry : run.at("fresh_feedback")) {
        fmt::print("  h_{} {} (p {})\n", entry.at("hidden_state").dump(), text(entry.at("gamma"), 4),
                   text(entry.at("p"), 3));
      }
    }
    for (const auto& run : results_.at("random_labels")) {
      const auto seed = run.at("seed").get<std::int64_t>();
      if (std::find(s_.seeds.begin(), s_.seeds.end(), seed) != s_.seeds.end())
        fmt::print("random labels, seed {}: |h_l| {}\n", seed, support::shown(run.at("hidden_norms")));
    }
    fmt::print("verdict: {}\nresults: {}\n", verdict_.text(), file_.path().string());
  }

  const Settings& s_;
  support::ResultsFile file_;
  Json results_ = Json::object();
  std::vector<Json> runs_;
  std::vector<double> accuracies_;
  std::vector<Row> rows_;
  creditlib::audit::Verdict verdict_;
};

/// Says where an audit is of other settings than the run that saved the weights.
void compare_with_file(const Settings& s) {
  if (!support::leads()) return;
  const std::vector<std::pair<std::string, std::string>> here{{"method", s.method},
                                                              {"dataset", s.run.dataset},
                                                              {"seed", std::to_string(s.seeds.front())},
                                                              {"epochs", std::to_string(s.epochs)}};
  for (const auto& [key, value] : here) {
    const auto found = s.saved.find(key);
    if (found != s.saved.end() && found->second != value)
      fmt::print(stderr, "note: {} is of {} {}, this audit of {} {}\n", s.from, key, found->second, key, value);
  }
}

void run(Settings s) {
  support::check_distinct("--seeds", s.seeds);
  if (!s.from.empty() && s.seeds.size() > 1) {
    throw support::UsageError("--from audits one network; give one seed, the one that it was trained with");
  }
  if (!s.from.empty()) {
    s.saved = creditlib::io::read_safetensors(s.from).metadata;
    compare_with_file(s);
  }
  Audit(s).run();
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_with_flags<Settings>(
      "Audits a credit rule: growth of the hidden states (D1), validity of the reference gradient (D2), what depth is "
      "worth (D3), and stability; as published and as they should be. Exit code 0 whichever the verdict.",
      "audit", argc, argv, audit::declare, run);
}
