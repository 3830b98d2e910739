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

void add_flags(CLI::App& app, Settings& s) {
  using support::flag;
  const auto count = [&](const std::string& name, std::int64_t& value, std::int64_t least, const char* what) {
    app.add_option(flag(name), value, what)->check(support::whole(least))->capture_default_str();
  };
  const auto number = [&](const std::string& name, double& value, const char* what) {
    app.add_option(flag(name), value, what)->check(support::not_negative())->capture_default_str();
  };
  const auto choice = [&](const std::string& name, std::string& value, const std::vector<std::string>& of,
                          const char* what) {
    app.add_option(flag(name), value, what)->check(CLI::IsMember(of))->capture_default_str();
  };
  const auto etas = [&](const std::string& name, std::vector<double>& value, const char* what) {
    app.add_option(flag(name), value, what)->expected(1, -1)->check(support::positive())->capture_default_str();
  };
  count("num_blocks", s.num_blocks, 1, "L");
  count("d_hidden", s.d_hidden, 1, "d");
  app.add_option("--epochs", s.epochs,
                 "of back-propagation, over which its rate falls to 0 (default: those of the last snapshot)")
      ->check(support::whole(1));
  app.add_option(flag("snapshot_epochs"), s.snapshot_epochs,
                 "epochs of back-propagation at which rules are judged (0: before the first; default: 5 20 100, or in "
                 "proportion to --epochs)")
      ->expected(1, -1)
      ->check(support::whole(0));
  count("estimator_epochs", s.estimator_epochs, 0, "epochs that the vector net learns on a snapshot's features");
  number("lr_fb", s.lr_fb, "the vector net's learning rate (Adam)");
  etas("etas", s.etas, "step sizes of the line search");
  app.add_option("--methods", s.methods, "dfa, vec_eT_M4, oracle_bp")
      ->expected(1, -1)
      ->check(CLI::IsMember(method_names()))
      ->capture_default_str();
  app.add_option("--seed", s.seed, "of the weights, the feedback and the batches")->capture_default_str();
  app.add_option(flag("output_dir"), s.output_dir, "where time_sweep_L{L}_d{d}_s{seed}.json and the snapshots go")
      ->capture_default_str();
  support::add_retrain_flag(app, s.retrain);
  number("lr", s.lr, "AdamW's learning rate, of the snapshots");
  number("wd", s.wd, "AdamW's weight decay, of the snapshots");
  choice("held_out", s.held_out, {"test", "train"},
         "where held-out batches are from: test, or train (the script's way)");
  choice("credit_point", s.credit_point, {"input", "output"},
         "where vector net and oracle give block l's credit: input (the script's way) or output");
  app.add_flag(flag("script_scale"), s.script_scale,
               "the oracle's credit of the batch's mean loss, 1/B of the others' (the script's way)");
  count("trials", s.trials, 0, "of the update utility with intervals (0: leave it out; it needs 20)");
  etas("trial_etas", s.trial_etas, "step sizes that it tries");
  support::add_run_flags(app, s.run);
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

Json snapshot_config(const Settings& s) {
  return {{"dataset", s.run.dataset},
          {"limit_train", s.run.limit_train},
          {"batch_size", s.run.batch_size},
          {"num_blocks", s.num_blocks},
          {"d_hidden", s.d_hidden},
          {"epochs", s.epochs},
          {"lr", s.lr},
          {"wd", s.wd},
          {"seed", s.seed}};
}

Json config(const Settings& s) {
  Json all = snapshot_config(s);
  all.update({{"snapshot_epochs", s.snapshot_epochs},
              {"methods", s.methods},
              {"estimator_epochs", s.estimator_epochs},
              {"lr_fb", s.lr_fb},
              {"M", vec_directions},
              {"etas", s.etas},
              {"held_out", s.held_out},
              {"credit_point", s.credit_point},
              {"script_scale", s.script_scale},
              {"trials", s.trials},
              {"trial_etas", s.trial_etas}});
  return all;
}

}  // namespace sweep
