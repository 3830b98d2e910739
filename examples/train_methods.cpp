// SPDX-License-Identifier: Apache-2.0
// Trains back-propagation, credit rules and controls on a data set and reports accuracy and each block's alignment with
// the true gradient: the script train_methods (docs/experiments/train_methods.md).

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/norms.hpp>
#include <creditlib/error.hpp>
#include <creditlib/runtime/matmul.hpp>
#include <creditlib/scope/eval_mode.hpp>

#include "support/figures.hpp"
#include "support/methods.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/table.hpp"
#include "support/training.hpp"
#include "support/weights.hpp"
#include "support/workbench.hpp"

namespace {

namespace data = creditlib::data;
namespace diagnostics = creditlib::diagnostics;
using Json = nlohmann::ordered_json;

struct Settings {
  std::string arch = "resmlp";
  std::vector<std::string> methods{"bp", "fa", "dfa"};
  std::vector<std::int64_t> seeds{42, 123, 456};
  std::int64_t epochs = 100, num_blocks = 0, d_hidden = 0;
  std::string output_dir = "results/reproduce", precision = "float32", credit_point = "output";
  double penalty_lam = 0, clip = 0;
  std::string init_from = {};
  double lr = 1e-3, wd = 0.01;
  bool save_weights = false, record_epochs = false, retrain = false, force = false;
  support::RunFlags run = {};

  support::Resume resume() const { return {.lists = {"methods", "seeds"}, .retrain = retrain}; }
};

void declare(support::Flags& flags, Settings& s) {
  flags.choice("arch", s.arch, support::arch_names(), support::archs_text());
  flags.count("num_blocks", s.num_blocks, 0, "L of an MLP (0: the network's own)");
  flags.count("d_hidden", s.d_hidden, 0, "d of an MLP (0: the network's own)");
  flags.record("dataset", s.run.dataset);
  auto methods = registry::method_names();
  methods.emplace_back("all");
  flags.choice("methods", s.methods, methods,
               registry::methods_text() + "; all: every rule that can train the network");
  flags.add("seeds", s.seeds, "one run of each method per seed");
  flags.count("epochs", s.epochs, 1, "the learning rate's cosine falls to 0 over them");
  flags.record("gpu", s.run.gpu);
  flags.add("output_dir", s.output_dir, "where results_{dataset}.json goes");
  flags.number("penalty_lam", s.penalty_lam, "adds this times the mean of ||f_l||^2 to each block's loss");
  flags.number("clip", s.clip, "clips each block's gradient norm to this (0: not at all)");
  flags.record("batch_size", s.run.batch_size);
  flags.number("lr", s.lr, "AdamW's learning rate");
  flags.number("wd", s.wd, "AdamW's weight decay");
  flags.record("limit_train", s.run.limit_train);
  flags.add("init_from", s.init_from,
            "start from the weights, and what the method has of its own, of this safetensors file");
  flags.choice("precision", s.precision, {"float32", "bf16"},
               "of large matrix products: float32, or bf16 with float32 weights (residual MLPs)");
  flags.choice("credit_point", s.credit_point, {"output", "input"},
               "where oracle, vec, value_net and state_predictor estimate block l's credit: at its output, or at its "
               "input (networks whose hidden states have one shape)");
  flags.add("save_weights", s.save_weights,
            "write weights, and what the method has of its own, as safetensors beside the results",
            support::Flags::apart);
  flags.add("no_augment", s.run.no_augment, "train on images as they are: no crops, no flips", support::Flags::apart);
  if (s.run.no_augment) flags.record("no_augment", true);  // left out otherwise, as in earlier results
  flags.add("record_epochs", s.record_epochs, "keep Gamma and the norms of every epoch in the results (by_epoch)",
            support::Flags::apart);
  flags.add("force", s.force, "go on with --precision bf16 where it is slower than float32", support::Flags::apart);
  support::add_retrain_flag(flags, s.retrain);
  support::add_run_flags(flags, s.run);
}

Json config(const Settings& s) { return support::config_of(s, declare); }

/// On the first samples of the test set, in eval mode: the rule's own credit against the network's own gradients.
Json diagnose(support::Trainer& trainer, const data::Batch& batch) {
  const diagnostics::EvalMode eval(trainer.module());
  const auto& [x, y] = batch;
  const auto gradients = trainer.model().true_gradients(x, y);
  const auto credits = trainer.raw_credits(x, y);
  const std::vector<torch::Tensor> outputs(credits.begin() + 1, credits.end());
  std::vector<torch::Tensor> mean_gradients;  // of the mean loss, as the script has it
  for (const auto& g : gradients) mean_gradients.push_back(g / static_cast<double>(x.size(0)));
  const auto at_output = diagnostics::alignment(outputs, {gradients.begin() + 1, gradients.end()});
  std::vector<diagnostics::Measured> at_input;  // the script compares block l's credit with the gradient at its input
  for (std::size_t l = 0; l < outputs.size(); ++l) {
    const bool same = gradients[l].sizes() == gradients[l + 1].sizes();
    at_input.push_back(same ? diagnostics::alignment(outputs[l], gradients[l])
                            : diagnostics::Measured{.reason = "the block changes the shape of the hidden state"});
  }
  const auto follows =
      trainer.model().parameter_cosine(trainer.gradients(x, y), trainer.model().parameter_gradients(x, y));
  Json figures{{"bp_cosine", support::values(at_input)},
               {"bp_grad_norms_per_layer", support::values(diagnostics::median_norms(mean_gradients))},
               {"hidden_norms_per_layer", support::values(diagnostics::median_norms(trainer.model().hidden_states(x)))},
               {"gamma_block_output", support::values(at_output)},
               {"gamma_embed", support::value(diagnostics::alignment(credits[0], gradients[0]))},
               {"parameter_cosine", support::values(follows.blocks)},
               {"parameter_cosine_all", support::value(follows.all)},
               {"mode", "eval"},
               {"samples", x.size(0)}};
  if (auto reasons = support::reasons(
          {{"gamma_block_output", at_output}, {"bp_cosine", at_input}, {"parameter_cosine", follows.blocks}});
      !reasons.empty())
    figures["undefined"] = reasons;
  return figures;
}

/// What ./run report draws over epochs: these figures after those of the epochs before, which `earlier`, the results so
/// far of the same method and seed, may have.
Json by_epoch(const Json& earlier, const Json& figures, std::int64_t epoch) {
  auto list = Json::array();
  if (earlier.contains("by_epoch")) {
    for (const auto& kept : earlier["by_epoch"]) {
      if (kept["epoch"].get<std::int64_t>() < epoch) list.push_back(kept);  // a run that goes on makes the others again
    }
  }
  Json now{{"epoch", epoch}};
  for (const char* key : {"gamma_block_output", "hidden_norms_per_layer", "bp_grad_norms_per_layer"})
    now[key] = figures[key];
  list.push_back(std::move(now));
  return list;
}

std::filesystem::path weights_path(const Settings& s, const std::string& method, std::int64_t seed) {
  return std::filesystem::path(s.output_dir) /
         fmt::format("weights_{}_{}_s{}.safetensors", s.run.dataset, method, seed);
}

support::Trainer make_trainer(const std::string& method, std::int64_t seed, const Settings& s,
                              const support::Workbench& bench) {
  torch::manual_seed(static_cast<std::uint64_t>(seed));
  support::MethodSettings settings{.options = {.lr = s.lr, .weight_decay = s.wd, .epochs = s.epochs, .seed = seed},
                                   .penalty = s.penalty_lam};
  if (s.credit_point == "input") settings.rule.estimate_at(creditlib::CreditPoint::BlockInput);
  if (s.clip > 0) settings.options.clip_norm = s.clip;
  if (s.precision == "bf16") settings.options.precision = creditlib::MatmulPrecision::BFloat16;
  return support::make_trainer(s.arch, method, bench, settings, s.init_from, s.d_hidden, s.num_blocks);
}

/// One method with one seed. `record` is called after every epoch with what is known by then.
void run(const std::string& method, std::int64_t seed, const Settings& s, const support::Workbench& bench,
         const std::function<void(Json)>& record) {
  auto trainer = make_trainer(method, seed, s, bench);
  const bool flat = support::takes_flat_images(s.arch);
  auto batches = bench.train_batches(seed, flat);
  auto test = bench.test_batches(flat);
  const auto eval_batch = bench.first_test_samples(128, flat);

  const auto checkpoint =
      std::filesystem::path(s.output_dir) / fmt::format("checkpoint_{}_{}_s{}.pt", s.run.dataset, method, seed);
  const support::TrainingPlan plan{.title = fmt::format("{}, seed {}", method, seed),
                                   .quiet = s.run.quiet,
                                   .allow_nonfinite = s.run.allow_nonfinite,
                                   .tensorboard = s.run.tensorboard,
                                   .eval_batch = eval_batch,
                                   .checkpoint = {.path = checkpoint,
                                                  .settings = support::fixed_settings(config(s), s.resume()),
                                                  .retrain = s.retrain,
                                                  .flags = s.run.checkpoints}};
  support::train(trainer, batches, test, plan, [&](const support::TrainingLog& log, std::int64_t epoch) {
    const bool last = epoch == s.epochs;
    if (last && s.save_weights) {
      support::save_weights(weights_path(s, method, seed), trainer.module(), support::rule_name(method),
                            trainer.credit_tensors(),
                            {{"arch", s.arch},
                             {"dataset", s.run.dataset},
                             {"method", method},
                             {"credit_point", s.credit_point},
                             {"seed", std::to_string(seed)},
                             {"epochs", std::to_string(s.epochs)}});
    }
    const auto start = std::chrono::steady_clock::now();
    const auto figures = diagnose(trainer, eval_batch);
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
    record({{"log", {{"train_loss", log.train_loss}, {"train_acc", log.train_acc}, {"test_acc", log.test_acc}}},
            {"diagnostics", figures},
            {"diagnostics_ms", taken.count()},
            {"transitions", support::transitions_json(log)},
            {"ms_per_step", support::median(log.ms_per_step)},
            {"steps", trainer.steps()},
            {"environment", support::environment(bench.device())},
            {"finished", last}});
  });
}

/// Whether an earlier run has left nothing to do for a method with a seed: weights that are asked for are there too.
bool finished(const Json& results, const std::string& method, std::int64_t seed, const Settings& s) {
  const auto key = std::to_string(seed);
  if (!results.contains(key) || !results[key].contains(method) || !results[key][method].value("finished", false))
    return false;
  return !s.save_weights || std::filesystem::exists(weights_path(s, method, seed));
}

/// Mean over seeds (and standard deviation) of each method: the table that the program ends with.
void print_table(const Json& results, const Settings& s, const std::filesystem::path& path) {
  support::Table table({"method", "test accuracy", "alignment, by block", "ms a step"});
  for (const auto& method : s.methods) {
    std::vector<double> accuracies, times;
    std::vector<Json> gammas;
    for (const auto seed : s.seeds) {
      const auto& of_seed = results[std::to_string(seed)];
      if (!of_seed.contains(method)) continue;
      const auto& entry = of_seed[method];
      accuracies.push_back(entry["log"]["test_acc"].back().get<double>());
      times.push_back(entry["ms_per_step"].get<double>());
      gammas.push_back(entry["diagnostics"]["gamma_block_output"]);
    }
    if (accuracies.empty()) continue;
    table.add({method, support::mean_and_deviation(accuracies, 4), support::mean_by_column(gammas),
               fmt::format("{:.2f}", support::median(times))});
  }
  std::string network = s.arch;
  if (s.d_hidden > 0) network += fmt::format(" with d = {}", s.d_hidden);
  if (s.num_blocks > 0) network += fmt::format("{} L = {}", s.d_hidden > 0 ? "," : " with", s.num_blocks);
  fmt::print("\n{} on {}, {} epochs, seeds {}\n{}results: {}\n", network, s.run.dataset, s.epochs,
             fmt::join(s.seeds, " "), table.text(), path.string());
}

/// Throws UsageError where products of bfloat16 are slower than those of float32.
void check_bfloat16_pays(const support::Workbench& bench) {
  if (bench.device() != "cpu") return;
  const auto trial = creditlib::runtime::time_bfloat16();
  if (trial.bfloat16_pays()) return;
  throw support::UsageError(fmt::format(
      "--precision bf16 is slower than float32 on this processor, which has no instructions for it: products that take "
      "{:.2f} ms in float32 take {:.2f} ms; leave the flag out, or go on with --force",
      trial.float32_milliseconds, trial.bfloat16_milliseconds));
}

/// Leaves out the rules that cannot train the network, and says why.
void leave_out_refused(Settings& s, const support::Workbench& bench) {
  std::erase_if(s.methods, [&](const std::string& method) {
    try {
      make_trainer(method, s.seeds.front(), s, bench);
      return false;
    } catch (const creditlib::Error& error) {
      fmt::print("{} is left out: {}\n", method, error.what());
      return true;
    }
  });
}

void run_all(Settings s) {
  if ((s.num_blocks > 0 || s.d_hidden > 0) && !support::takes_flat_images(s.arch)) {
    throw support::UsageError("--num_blocks and --d_hidden are of MLPs; --arch " + s.arch + " has its own");
  }
  const bool all = s.methods == std::vector<std::string>{"all"};
  if (!all && std::ranges::count(s.methods, "all") > 0)
    throw support::UsageError("--methods all stands for every rule; give no other name with it");
  if (all) s.methods = registry::rule_names();
  support::check_distinct("--methods", s.methods);
  support::check_distinct("--seeds", s.seeds);
  const support::ResultsFile file(std::filesystem::path(s.output_dir) / fmt::format("results_{}.json", s.run.dataset));
  Json settings = config(s);
  Json results = support::earlier_results(file, settings, s.resume());
  const support::Workbench bench(s.run);
  if (s.precision == "bf16" && !s.force) check_bfloat16_pays(bench);
  if (all) leave_out_refused(s, bench);
  // What cannot be trained says so before anything has been.
  for (const auto& method : s.methods) make_trainer(method, s.seeds.front(), s, bench);

  for (const auto seed : s.seeds) {
    for (const auto& method : s.methods) {
      if (finished(results, method, seed, s)) {
        support::say_kept(fmt::format("{}, seed {}", method, seed));
        continue;
      }
      run(method, seed, s, bench, [&](Json entry) {
        auto& kept = results[std::to_string(seed)][method];
        if (s.record_epochs) {
          const auto epoch = static_cast<std::int64_t>(entry["log"]["test_acc"].size());
          entry["by_epoch"] = by_epoch(kept, entry["diagnostics"], epoch);
        }
        kept = std::move(entry);
        Json whole = results;
        whole["config"] = settings;
        whole["environment"] = support::environment(bench.device());
        file.write(whole);
      });
    }
  }
  print_table(results, s, file.path());
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_with_flags<Settings>(
      "Trains a network with back-propagation and with local credit rules, and measures how well each rule's credit "
      "aligns with the true gradient.",
      "train_methods", argc, argv, declare, run_all);
}
