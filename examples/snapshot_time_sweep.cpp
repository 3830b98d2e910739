// SPDX-License-Identifier: Apache-2.0
// At snapshots of one back-propagation run, asks of each credit rule whether its update lowers the loss on the batch
// that it was made from and on another: the script snapshot_time_sweep (docs/experiments/snapshot_time_sweep.md).

#include <fmt/format.h>

#include <algorithm>
#include <creditlib/diagnostics/trial_step.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "snapshot_time_sweep/fixed_batches.hpp"
#include "snapshot_time_sweep/report.hpp"
#include "snapshot_time_sweep/settings.hpp"
#include "snapshot_time_sweep/snapshots.hpp"
#include "snapshot_time_sweep/update_trials.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/training.hpp"
#include "support/workbench.hpp"

namespace {

using sweep::Settings;
using Json = nlohmann::ordered_json;

class Sweep {
 public:
  /// Throws Error where there are results of other settings.
  explicit Sweep(const Settings& s)
      : s_(s),
        file_(std::filesystem::path(s.output_dir) /
              fmt::format("time_sweep_L{}_d{}_s{}.json", s.num_blocks, s.d_hidden, s.seed)),
        config_(sweep::config(s)) {
    const Json earlier = support::earlier_results(file_, config_, s.resume());
    if (earlier.contains("results")) results_ = earlier["results"];
    if (earlier.contains("judgement")) judged_ = earlier["judgement"].get<std::vector<std::string>>();
  }

  /// Whether an earlier run has left nothing to measure.
  bool complete() const {
    return std::all_of(s_.snapshot_epochs.begin(), s_.snapshot_epochs.end(),
                       [&](std::int64_t epoch) { return left(epoch).empty(); });
  }

  void run(const sweep::Snapshots& snapshots, const support::Workbench& bench) {
    const sweep::FixedBatches fixed(s_, bench);
    for (const auto epoch : s_.snapshot_epochs) {
      if (!s_.run.quiet) fmt::print("\nsnapshot of epoch {}\n", epoch);
      for (const auto& method : s_.methods) {
        if (finished(epoch, method)) support::say_kept(fmt::format("{:>12}", method));
      }
      if (const auto methods = left(epoch); !methods.empty()) measure(epoch, methods, snapshots, bench, fixed);
    }
    sweep::print_tables(results_);
    const auto judged = sweep::judgement(results_);
    for (const auto& sentence : judged) fmt::print("{}\n", sentence);
    fmt::print("results: {}\n", file_.path().string());
    if (std::exchange(judged_, judged) != judged) write(bench);  // else the file says all this already
  }

 private:
  bool finished(std::int64_t epoch, const std::string& method) const {
    return std::any_of(results_.begin(), results_.end(),
                       [&](const Json& r) { return r["snapshot_epoch"] == epoch && r["method"] == method; });
  }

  std::vector<std::string> left(std::int64_t epoch) const {
    std::vector<std::string> methods;
    for (const auto& method : s_.methods) {
      if (!finished(epoch, method)) methods.push_back(method);
    }
    return methods;
  }

  void measure(std::int64_t epoch, const std::vector<std::string>& methods, const sweep::Snapshots& snapshots,
               const support::Workbench& bench, const sweep::FixedBatches& fixed) {
    auto test = bench.test_batches(/*flat=*/true);
    auto model = snapshots.load(epoch, bench);
    for (const auto& method : methods) {
      auto trainer = sweep::make_trainer(s_, method, epoch, model);
      const double accuracy = support::accuracy(trainer, test);
      if (method == methods.front() && !s_.run.quiet) {
        fmt::print("accuracy {:.4f}, loss on the same batch {:.4f}, on the held-out one {:.4f}\n", accuracy,
                   creditlib::diagnostics::mean_loss(model, fixed.same.input, fixed.same.target),
                   creditlib::diagnostics::mean_loss(model, fixed.held.input, fixed.held.target));
      }
      if (method == "vec_eT_M4") sweep::learn(s_, trainer, epoch, bench);
      add(sweep::measured(s_, method, epoch, accuracy, model, trainer, fixed));
      write(bench);
      if (support::interrupted()) throw support::Interrupted();
    }
  }

  void add(const Json& entry) {
    if (!s_.run.quiet) sweep::announce(entry);
    judged_.clear();
    const auto place = [](const Json& r) {
      const auto& names = sweep::method_names();
      const auto at = std::find(names.begin(), names.end(), r["method"].get<std::string>());
      return std::pair(r["snapshot_epoch"].get<std::int64_t>(), at - names.begin());
    };
    const auto behind = std::upper_bound(results_.begin(), results_.end(), entry,
                                         [&](const Json& a, const Json& b) { return place(a) < place(b); });
    results_.insert(behind, entry);
  }

  void write(const support::Workbench& bench) const {
    Json all{{"results", results_}};
    if (!judged_.empty()) all["judgement"] = judged_;
    all["config"] = config_;
    all["environment"] = support::environment(bench.device());
    file_.write(all);
  }

  const Settings& s_;
  support::ResultsFile file_;
  Json config_, results_ = Json::array();
  std::vector<std::string> judged_;
};

void run(Settings s) {
  sweep::settle(s);
  Sweep experiment(s);
  const sweep::Snapshots snapshots(s);
  const support::Workbench bench(s.run);
  if (!experiment.complete()) snapshots.make(bench);
  support::group()->barrier();  // the first process has written them, and all read them
  experiment.run(snapshots, bench);
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_with_flags<Settings>(
      "At snapshots of a back-propagation run, measures whether each rule's update lowers the loss on its own batch "
      "and on another.",
      "snapshot_time_sweep", argc, argv, sweep::declare, run);
}
