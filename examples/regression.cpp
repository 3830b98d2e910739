// SPDX-License-Identifier: Apache-2.0
// Trains a residual MLP to predict a column of a table by back-propagation, by credit rules and by controls
// (docs/experiments/regression.md).

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <creditlib/data/batches.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <filesystem>
#include <functional>
#include <utility>

#include "regression/loss.hpp"
#include "regression/table.hpp"
#include "support/epoch_records.hpp"
#include "support/figures.hpp"
#include "support/live_line.hpp"
#include "support/methods.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/table.hpp"
#include "support/threads.hpp"
#include "support/training.hpp"

namespace {

namespace data = creditlib::data;
using Json = nlohmann::ordered_json;
using regression::Score;
using regression::Split;

struct Settings {
  std::string table = CREDITLIB_DATA_DIR "/concrete/concrete.csv", target = {};
  double test_part = 0.2;
  std::vector<std::string> methods{"bp", "dfa", "fa", "oracle", "frozen", "frozen_bp", "readout"};
  std::vector<std::int64_t> seeds{42, 123, 456};
  std::string loss = "squared";
  std::int64_t epochs = 200, width = 64, blocks = 3, batch_size = 32;
  double lr = 1e-3, wd = 0.01, penalty_lam = 0, clip = 0;
  std::string output_dir = "results/regression", threads = "auto", tensorboard = {};
  support::CheckpointFlags checkpoints = {};
  bool retrain = false, quiet = false;

  support::Resume resume() const { return {.lists = {"methods", "seeds"}, .retrain = retrain}; }
  std::string name() const { return std::filesystem::path(table).stem().string(); }
};

void declare(support::Flags& flags, Settings& s) {
  flags.add("table", s.table, "a CSV file of numbers", {CLI::ExistingFile}, support::Flags::apart);
  flags.add("target", s.target, "the column to predict (default: the last one)");
  flags.add("test_part", s.test_part, "of the rows, drawn from the seed", {support::positive(), CLI::Range(0.0, 1.0)});
  flags.choice("methods", s.methods, registry::method_names(), registry::methods_text());
  flags.add("seeds", s.seeds,
            "one run of each method per seed, which draws the rows to test with, weights, feedback and batches");
  flags.choice("loss", s.loss, {"squared", "smooth_l1"}, "squared or smooth_l1");
  flags.count("epochs", s.epochs, 1, "the learning rate's cosine falls to 0 over them");
  flags.count("width", s.width, 1, "d of the residual MLP");
  flags.count("blocks", s.blocks, 1, "L of the residual MLP");
  flags.count("batch_size", s.batch_size, 1, "rows per step");
  flags.number("lr", s.lr, "AdamW's learning rate");
  flags.number("wd", s.wd, "AdamW's weight decay");
  flags.number("penalty_lam", s.penalty_lam, "adds this times the mean of ||f_l||^2 to each block's loss");
  flags.number("clip", s.clip, "clips each block's gradient norm to this (0: not at all)");
  flags.add("output_dir", s.output_dir, "where results_{table}.json goes");
  support::add_threads_flag(flags, s.threads);
  support::add_retrain_flag(flags, s.retrain);
  support::add_checkpoint_flags(flags, s.checkpoints);
  support::add_tensorboard_flag(flags, s.tensorboard);
  flags.add("quiet", s.quiet, "no progress, only the outcome", support::Flags::apart);
}

Json config_of(const Settings& s, const regression::Table& table) {
  Json config = support::config_of(s, declare);
  config["target"] = table.target();
  config["table"] = {{"file", std::filesystem::path(s.table).filename().string()},
                     {"rows", table.rows()},
                     {"inputs", table.inputs()},
                     {"fnv1a", table.checksum()}};
  return config;
}

support::Trainer make_trainer(const std::string& method, std::int64_t seed, const Settings& s, std::int64_t inputs) {
  torch::manual_seed(static_cast<std::uint64_t>(seed));
  const auto* control = registry::control(method);
  creditlib::ResidualMLP model(
      {.input = inputs, .width = s.width, .classes = 1, .blocks = control && control->without_blocks ? 0 : s.blocks});
  if (control) support::freeze(model, *control);
  support::MethodSettings settings{
      .options = {.lr = s.lr, .weight_decay = s.wd, .epochs = s.epochs, .seed = seed, .group = support::group()},
      .penalty = s.penalty_lam};
  if (s.clip > 0) settings.options.clip_norm = s.clip;
  settings.rule.epochs = s.epochs;
  settings.rule.batch_size = s.batch_size;
  return support::rule_trainer(support::rule_name(method), model, settings, /*mean_over_positions=*/false,
                               regression::Loss{.smooth_l1 = s.loss == "smooth_l1"});
}

Json json_of(const Score& score) { return {{"test_rmse", score.rmse}, {"test_r2", score.r2}}; }

/// What needs no network: the mean of the training targets, and least squares on the inputs.
Json baselines(const Split& split) {
  const auto inputs = split.train.inputs.to(torch::kFloat64), targets = split.train.targets.to(torch::kFloat64);
  const auto weights = std::get<0>(at::linalg_lstsq(inputs, targets));
  const auto linear = split.test.inputs.to(torch::kFloat64).matmul(weights);
  return {{"mean", json_of(score(split, torch::zeros_like(linear)))}, {"linear", json_of(score(split, linear))}};
}

Score tested(support::Trainer& trainer, const Split& split) {
  const torch::NoGradGuard no_grad;
  const creditlib::diagnostics::EvalMode eval(trainer.module());
  return score(split, trainer.forward(split.test.inputs));
}

/// One method with one seed, to the last epoch.
class Run {
 public:
  Run(const std::string& method, std::int64_t seed, const Settings& s, const Split& split)
      : method_(method), seed_(seed), s_(s), split_(split), title_(fmt::format("{}, seed {}", method, seed)) {}

  Json operator()(const Json& settings) {
    auto trainer = make_trainer(method_, seed_, s_, split_.train.inputs.size(1));
    data::Batches batches(split_.train, {.batch_size = s_.batch_size, .seed = seed_, .group = support::group()});
    support::Checkpoint checkpoint({.path = std::filesystem::path(s_.output_dir) /
                                            fmt::format("checkpoint_{}_{}_s{}.pt", s_.name(), method_, seed_),
                                    .settings = settings,
                                    .retrain = s_.retrain,
                                    .flags = s_.checkpoints});
    Json log{
        {"train_loss", Json::array()}, {"test_rmse", Json::array()}, {"ms_per_step", Json::array()}, {"threads", 0}};
    double loss_so_far = 0;  // of an epoch that was stopped
    if (const auto left = checkpoint.load(trainer)) {
      log = left->progress;
      batches.load(left->generators);
      if (!left->in_epoch.is_null()) loss_so_far = left->in_epoch.at("loss").get<double>();
      if (!s_.quiet) {
        fmt::print("{}: goes on after epoch {} of {}, step {}\n", title_, trainer.epoch(), s_.epochs, trainer.steps());
      }
    }
    trainer.module().train();
    const auto rows = std::min(s_.batch_size, split_.train.size());
    const auto first = split_.train.first(rows);
    log["threads"] = support::settle_threads(trainer, {first.inputs, first.targets},
                                             batches.batches_per_epoch() * s_.epochs - trainer.steps(),
                                             log["threads"].get<std::int64_t>(), title_, s_.quiet);
    support::EpochRecords records(s_.tensorboard, title_, trainer.epoch());
    support::LiveLine line(s_.quiet);
    const support::Pace pace(batches.batches_per_epoch() * s_.epochs, trainer.steps());
    while (true) {
      epoch(trainer, batches, std::exchange(loss_so_far, 0), log, checkpoint);
      log["test_rmse"].push_back(tested(trainer, split_).rmse);
      say_epoch(trainer, log, records, line, pace);
      if (trainer.epoch() + 1 == s_.epochs) break;
      trainer.end_epoch();
      checkpoint.save(trainer, {.progress = log, .generators = batches.named_tensors()});
    }
    checkpoint.remove();
    return outcome(trainer, log);
  }

 private:
  using Clock = std::chrono::steady_clock;

  /// Trains for an epoch, or for what is left of one that was stopped with this `loss` so far, and logs its mean loss.
  void epoch(support::Trainer& trainer, data::Batches& batches, double loss, Json& log,
             support::Checkpoint& checkpoint) const {
    const auto at_start = batches.named_tensors();
    const auto done = trainer.steps() - trainer.epoch() * batches.batches_per_epoch();
    std::int64_t step = 0;
    auto start = Clock::now();
    for (const auto& [x, y] : batches) {
      if (step++ < done) {  // before the run was stopped
        start = Clock::now();
        continue;
      }
      const auto rows = support::samples_of(batches, step - 1);
      loss += trainer.step(x, y).loss.item<double>() * static_cast<double>(rows);
      if (!std::isfinite(loss)) {
        throw creditlib::Error(
            fmt::format("{}: the loss is not finite in step {}. Use a smaller --lr, a penalty or "
                        "clipping.",
                        title_, trainer.steps()));
      }
      if (support::interrupted())
        checkpoint.stop(trainer, {.progress = log, .generators = at_start, .in_epoch = {{"loss", loss}}});
    }
    const auto ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    log["train_loss"].push_back(loss / static_cast<double>(batches.size()));
    log["ms_per_step"].push_back(ms / static_cast<double>(std::max<std::int64_t>(1, step - done)));
  }

  /// The last epoch's numbers: for TensorBoard, in a progress line, or as a line of JSON.
  void say_epoch(support::Trainer& trainer, const Json& log, support::EpochRecords& records, support::LiveLine& line,
                 const support::Pace& pace) const {
    const auto last = [&](const char* key) { return log[key].back().get<double>(); };
    const std::vector<support::EpochScalar> scalars{{"loss/train", "train_loss", last("train_loss")},
                                                    {"rmse/test", "test_rmse", last("test_rmse")},
                                                    {"rate", "rate", trainer.rate()},
                                                    {"ms_per_step", "ms_per_step", last("ms_per_step")}};
    const auto epoch = trainer.epoch() + 1;
    if (records) records.add(epoch, trainer.steps(), scalars, &trainer.module());
    if (s_.quiet) return;
    const auto fields = [&] {
      return std::vector<std::string>{fmt::format("epoch {}/{}", epoch, s_.epochs), pace.left(trainer.steps()),
                                      pace.rate(trainer.steps()), fmt::format("test RMSE {:.4g}", last("test_rmse"))};
    };
    line.show(title_, fields);
    if (!support::logs_json()) return;  // as text, epochs are many and short, and the outcome is a line
    line.clear();
    Json entry{{"epoch", epoch}, {"of", s_.epochs}, {"step", trainer.steps()}};
    entry.update(support::json_of(scalars));
    support::say_epoch(title_, entry, {});
  }

  Json outcome(support::Trainer& trainer, const Json& log) const {
    Json entry = json_of(tested(trainer, split_));
    const creditlib::diagnostics::EvalMode eval(trainer.module());
    const auto gamma = support::gamma_at_outputs(trainer, {split_.test.inputs, split_.test.targets});
    entry["gamma_by_block"] = support::values(gamma);
    entry["undefined"] = support::reasons({{"gamma_by_block", gamma}});
    entry["ms_per_step"] = support::median(log["ms_per_step"].get<std::vector<double>>());
    entry["log"] = log;
    entry["environment"] = support::environment("cpu");
    return entry;
  }

  const std::string& method_;
  std::int64_t seed_;
  const Settings& s_;
  const Split& split_;
  std::string title_;
};

void say(const std::string& method, std::int64_t seed, const Json& entry) {
  fmt::print("{}, seed {}: test RMSE {:.4g}, R2 {:.4f}; {:.2f} ms a step\n", method, seed,
             entry["test_rmse"].get<double>(), entry["test_r2"].get<double>(), entry["ms_per_step"].get<double>());
  std::fflush(stdout);
}

/// Mean over seeds (and standard deviation) of each method.
void print_table(const Json& results, const Settings& s, const regression::Table& table,
                 const std::filesystem::path& path) {
  support::Table text({"method", "test RMSE", "test R2", "alignment, by block"});
  const auto add = [&](const std::string& name, const auto& entry_of) {
    std::vector<double> rmse, r2;
    std::vector<Json> gammas;
    for (const auto seed : s.seeds) {
      const Json& entry = entry_of(results.at(std::to_string(seed)));
      rmse.push_back(entry["test_rmse"].get<double>());
      r2.push_back(entry["test_r2"].get<double>());
      gammas.push_back(entry.value("gamma_by_block", Json::array()));
    }
    text.add({name, support::mean_and_deviation(rmse, 3), support::mean_and_deviation(r2, 4),
              support::mean_by_column(gammas)});
  };
  for (const std::string name : {"mean", "linear"}) {
    add(name, [&](const Json& of_seed) -> const Json& { return of_seed.at("baselines").at(name); });
  }
  for (const auto& method : s.methods) {
    add(method, [&](const Json& of_seed) -> const Json& { return of_seed.at(method); });
  }
  fmt::print("\n{} of {} ({} rows) with d = {}, L = {}, {} epochs, seeds {}\n{}results: {}\n", table.target(), s.name(),
             table.rows(), s.width, s.blocks, s.epochs, fmt::join(s.seeds, " "), text.text(), path.string());
}

void run(Settings s) {
  support::check_distinct("--methods", s.methods);
  support::check_distinct("--seeds", s.seeds);
  support::set_threads(s.threads);
  const regression::Table table(s.table, s.target);
  std::vector<Split> splits;
  for (const auto seed : s.seeds) splits.push_back(table.split(s.test_part, seed));

  const support::ResultsFile file(std::filesystem::path(s.output_dir) / fmt::format("results_{}.json", s.name()));
  Json config = config_of(s, table);
  const auto settings = support::fixed_settings(config, s.resume());
  Json results = support::earlier_results(file, config, s.resume());
  for (std::size_t i = 0; i < s.seeds.size(); ++i) {
    const auto seed = s.seeds[i];
    auto& of_seed = results[std::to_string(seed)];
    of_seed["baselines"] = baselines(splits[i]);
    for (const auto& method : s.methods) {
      if (of_seed.contains(method)) {
        support::say_kept(fmt::format("{}, seed {}", method, seed));
        continue;
      }
      of_seed[method] = Run(method, seed, s, splits[i])(settings);
      Json all = results;
      all["config"] = config;
      all["environment"] = support::environment("cpu");
      file.write(all);
      if (!s.quiet) say(method, seed, of_seed[method]);
    }
  }
  print_table(results, s, table, file.path());
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_with_flags<Settings>(
      "Trains a residual MLP to predict a column of a table by back-propagation, by credit rules and by controls.",
      "regression", argc, argv, declare, run);
}
