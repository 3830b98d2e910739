// SPDX-License-Identifier: Apache-2.0
#include "snapshot_time_sweep/settings.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "support/program.hpp"

namespace sweep {

using Json = nlohmann::ordered_json;

const std::vector<std::string>& method_names() {
  static const std::vector<std::string> names{"dfa", "vec_eT_M4", "oracle_bp"};
  return names;
}

namespace {

/// What a snapshot depends on.
void declare_snapshots(support::Flags& flags, Settings& s) {
  flags.record("dataset", s.run.dataset);
  flags.record("limit_train", s.run.limit_train);
  flags.record("batch_size", s.run.batch_size);
  flags.count("num_blocks", s.num_blocks, 1, "L");
  flags.count("d_hidden", s.d_hidden, 1, "d");
  flags.add("epochs", s.epochs,
            "of back-propagation, over which its rate falls to 0 (default: those of the last snapshot)",
            {support::whole(1)}, {.shows_default = false});
  flags.number("lr", s.lr, "AdamW's learning rate, of the snapshots");
  flags.number("wd", s.wd, "AdamW's weight decay, of the snapshots");
  flags.add("seed", s.seed, "of the weights, the feedback and the batches");
}

}  // namespace

void declare(support::Flags& flags, Settings& s) {
  declare_snapshots(flags, s);
  flags.add("snapshot_epochs", s.snapshot_epochs,
            "epochs of back-propagation at which rules are judged (0: before the first; default: 5 20 100, or in "
            "proportion to --epochs)",
            {support::whole(0)});
  flags.choice("methods", s.methods, method_names(), "dfa, vec_eT_M4, oracle_bp");
  flags.count("estimator_epochs", s.estimator_epochs, 0, "epochs that the vector net learns on a snapshot's features");
  flags.number("lr_fb", s.lr_fb, "the vector net's learning rate (Adam)");
  flags.record("M", vec_directions);
  flags.add("etas", s.etas, "step sizes of the line search", {support::positive()});
  flags.choice("held_out", s.held_out, {"test", "train"},
               "where held-out batches are from: test, or train (the script's way)");
  flags.choice("credit_point", s.credit_point, {"input", "output"},
               "where vector net and oracle give block l's credit: input (the script's way) or output");
  flags.add("script_scale", s.script_scale,
            "the oracle's credit of the batch's mean loss, 1/B of the others' (the script's way)");
  flags.count("trials", s.trials, 0, "of the update utility with intervals (0: leave it out; it needs 20)");
  flags.add("trial_etas", s.trial_etas, "step sizes that it tries", {support::positive()});
  flags.add("output_dir", s.output_dir, "where time_sweep_L{L}_d{d}_s{seed}.json and the snapshots go",
            support::Flags::apart);
  support::add_retrain_flag(flags, s.retrain);
  support::add_run_flags(flags, s.run);
}

void settle(Settings& s) {
  if (s.snapshot_epochs.empty()) {
    if (s.epochs == 0) s.epochs = 100;
    for (const std::int64_t published : {5, 20, 100}) {
      const auto epoch = support::in_proportion(published, s.epochs);
      if (s.snapshot_epochs.empty() || epoch != s.snapshot_epochs.back()) s.snapshot_epochs.push_back(epoch);
    }
  }
  const auto last = *std::max_element(s.snapshot_epochs.begin(), s.snapshot_epochs.end());
  if (s.epochs == 0) s.epochs = last;
  if (last > s.epochs)
    throw support::UsageError(
        fmt::format("--snapshot_epochs has {}, and --epochs is {}: a snapshot past the end", last, s.epochs));
  support::check_distinct("--snapshot_epochs", s.snapshot_epochs);
  support::check_distinct("--methods", s.methods);
}

Json snapshot_config(const Settings& s) { return support::config_of(s, declare_snapshots); }

Json config(const Settings& s) { return support::config_of(s, declare); }

}  // namespace sweep
