// SPDX-License-Identifier: Apache-2.0
// Trains DFA, or another rule, on the residual MLP with a penalty on each branch's size, and judges what the penalty
// does: the script dfa_residual_penalty_test (docs/experiments/dfa_residual_penalty.md).

#include <fmt/format.h>

#include <algorithm>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/norms.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <limits>
#include <optional>

#include "support/figures.hpp"
#include "support/methods.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/training.hpp"
#include "support/weights.hpp"
#include "support/workbench.hpp"

namespace {

namespace data = creditlib::data;
namespace diagnostics = creditlib::diagnostics;
using Json = nlohmann::ordered_json;

constexpr std::int64_t judged_layer = 2;  // the script's g_2

struct Settings {
  std::string method = "dfa";
  std::int64_t seed = 42, epochs = 100;
  double lr = 1e-3, wd = 0.01, lam = 1e-2;
  std::string output_dir = "results/dfa_residual_penalty";
  std::optional<double> baseline;
  double clip = 1, max_growth = 50, min_gradient = 1e-7;
  bool retrain = false;
  support::RunFlags run = {};

  support::Resume resume() const { return {.retrain = retrain}; }
};

void declare(support::Flags& flags, Settings& s) {
  flags.choice("method", s.method, {"dfa", "fa", "state_predictor", "value_net", "bp"},
               "dfa, fa, state_predictor, value_net or bp");
  flags.add("seed", s.seed, "of the weights, the feedback and the batches");
  flags.count("epochs", s.epochs, 1, "the learning rate's cosine falls to 0 over them");
  flags.number("lr", s.lr, "AdamW's learning rate");
  flags.number("wd", s.wd, "AdamW's weight decay");
  flags.number("lam", s.lam, "the penalty: lam times the batch mean of ||f_l||^2 for each block");
  flags.add("output_dir", s.output_dir, "where the results and the weights go");
  flags.add("baseline", s.baseline, "test accuracy of frozen blocks to judge by (default: trains such a run first)",
            {support::not_negative(), CLI::Range(0.0, 1.0)});
  flags.number("clip", s.clip, "clips each block's gradient norm to this (0: not at all)");
  flags.add("max_growth", s.max_growth, "|h_l| counts as bounded while no block multiplies it by more",
            {support::positive()});
  flags.number("min_gradient", s.min_gradient,
               "|g_2| of the mean loss over 128 samples counts as healthy from here on");
  flags.record("dataset", s.run.dataset);
  flags.record("batch_size", s.run.batch_size);
  flags.record("limit_train", s.run.limit_train);
  support::add_retrain_flag(flags, s.retrain);
  support::add_run_flags(flags, s.run);
}

Json config(const Settings& s) { return support::config_of(s, declare); }

/// What the log keeps of an epoch, in eval mode on the first samples of the test set.
struct Diagnosis {
  std::vector<diagnostics::Measured> hidden, gradients, gamma;
  double accuracy = 0;
};

Diagnosis diagnose(support::Trainer& trainer, const data::Batch& batch) {
  const diagnostics::EvalMode eval(trainer.module());
  const torch::NoGradGuard no_grad;
  const auto& [x, y] = batch;
  auto gradients = trainer.model().true_gradients(x, y);
  const auto gamma = diagnostics::alignment(trainer.raw_credits(x, y), gradients);
  for (auto& g : gradients) g = g / static_cast<double>(x.size(0));  // of the mean loss, as the script has it
  return {diagnostics::median_norms(trainer.model().hidden_states(x)), diagnostics::median_norms(gradients), gamma,
          trainer.forward(x).argmax(1).eq(y).to(torch::kFloat64).mean().item<double>()};
}

Json log_entry(std::int64_t epoch, const Diagnosis& d) {
  Json entry{{"epoch", epoch},
             {"h_L_norm", support::value(d.hidden.back())},
             {"g_2_norm", support::value(d.gradients[judged_layer])},
             {"acc_eval", d.accuracy},
             {"hidden_norms", support::values(d.hidden)},
             {"gradient_norms", support::values(d.gradients)},
             {"gamma", support::values(d.gamma)}};
  auto reasons = support::reasons({{"hidden_norms", d.hidden}, {"gradient_norms", d.gradients}, {"gamma", d.gamma}});
  if (!reasons.empty()) entry["undefined"] = reasons;
  return entry;
}

/// max over blocks of median|h_{l+1}| / median|h_l|; infinite where a norm is not finite.
double growth(const Diagnosis& d) {
  double most = 0;
  for (std::size_t l = 0; l + 1 < d.hidden.size(); ++l) {
    if (!d.hidden[l].value || !d.hidden[l + 1].value) return std::numeric_limits<double>::infinity();
    most = std::max(most, *d.hidden[l + 1].value / *d.hidden[l].value);
  }
  return most;
}

/// What a run's files are called, without their ending.
std::string stem(const Settings& s) { return fmt::format("{}_pen_lam{}_s{}", s.method, Json(s.lam).dump(), s.seed); }

/// Trains `method` from the seed; returns the test accuracy of the last epoch. `after_epoch` is called with the
/// trainer, the epochs done and the log, first before training; `collected` is what it collects.
template <class AfterEpoch>
double train(const Settings& s, const support::Workbench& bench, const std::string& title, const std::string& method,
             const data::Batch& eval_batch, Json& collected, const AfterEpoch& after_epoch) {
  torch::manual_seed(static_cast<std::uint64_t>(s.seed));
  support::MethodSettings settings{.options = {.lr = s.lr, .weight_decay = s.wd, .epochs = s.epochs, .seed = s.seed},
                                   .penalty = s.lam};
  if (s.clip > 0) settings.options.clip_norm = s.clip;
  auto trainer = support::make_trainer("resmlp", method, bench, settings);
  auto batches = bench.train_batches(s.seed, /*flat=*/true);
  auto test = bench.test_batches(/*flat=*/true);
  double accuracy = 0;
  after_epoch(trainer, 0, support::TrainingLog{});
  const auto checkpoint = std::filesystem::path(s.output_dir) /
                          fmt::format("checkpoint_{}{}.pt", stem(s), method == s.method ? "" : "_" + method);
  const support::TrainingPlan plan{.title = title,
                                   .quiet = s.run.quiet,
                                   .allow_nonfinite = s.run.allow_nonfinite,
                                   .tensorboard = s.run.tensorboard,
                                   .eval_batch = eval_batch,
                                   .checkpoint = {.path = checkpoint,
                                                  .settings = support::fixed_settings(config(s), s.resume()),
                                                  .record = &collected,
                                                  .retrain = s.retrain,
                                                  .flags = s.run.checkpoints}};
  support::train(trainer, batches, test, plan, [&](const support::TrainingLog& log, std::int64_t epoch) {
    accuracy = log.test_acc.back();
    after_epoch(trainer, epoch, log);
  });
  return accuracy;
}

/// A, B or C of the script, with the sentence that says why.
std::pair<std::string, std::string> outcome(const Settings& s, const Diagnosis& last, double accuracy, double baseline,
                                            std::int64_t samples) {
  const double grown = growth(last);
  const auto gradient = last.gradients[judged_layer].value.value_or(0);
  const double at_128 = gradient * static_cast<double>(samples) / 128;
  if (grown > s.max_growth) {
    return {"C", fmt::format("the hidden states stay exploded: a block multiplies |h| by {:.3g}, more than {:.3g}; the "
                             "penalty is too weak or on the wrong target",
                             grown, s.max_growth)};
  }
  if (at_128 < s.min_gradient) {
    return {"C", fmt::format("|h| is bounded (growth {:.3g}), but the true gradient has collapsed: |g_2| is {:.3g} for "
                             "the mean over 128 samples, less than {:.3g}",
                             grown, at_128, s.min_gradient)};
  }
  const auto health = fmt::format("|h| is bounded (growth {:.3g}) and |g_2| healthy ({:.3g})", grown, at_128);
  if (accuracy > baseline) {
    return {"A", fmt::format("{}, and test accuracy {:.4f} is above the frozen blocks' {:.4f}: bounding the growth let "
                             "the blocks add something",
                             health, accuracy, baseline)};
  }
  return {"B",
          fmt::format(
              "{}, but test accuracy {:.4f} is not above the frozen blocks' {:.4f}: bounding the growth is not enough",
              health, accuracy, baseline)};
}

void print_outcome(const Json& results, const std::string& results_path, const std::string& weights_path) {
  const auto& outcome = results["outcome"];
  fmt::print("\nfinal test accuracy {:.4f}, frozen blocks {:.4f}\noutcome {}: {}\nresults: {}\n",
             results["final_test_acc"].get<double>(), results["baseline"]["test_acc"].get<double>(),
             outcome["letter"].get<std::string>(), outcome["why"].get<std::string>(), results_path);
  if (std::filesystem::exists(weights_path)) fmt::print("weights and feedback: {}\n", weights_path);
}

void run(Settings s) {
  const auto path = (std::filesystem::path(s.output_dir) / stem(s)).string();
  const std::string weights_path = path + ".safetensors";
  const support::ResultsFile file(path + ".json");
  Json settings = config(s);
  const Json earlier = support::earlier_results(file, settings, s.resume());
  if (earlier.value("finished", false)) {
    support::say_kept(fmt::format("{}, lam {}, seed {}", s.method, s.lam, s.seed));
    return print_outcome(earlier, file.path().string(), weights_path);
  }

  const support::Workbench bench(s.run);
  const auto eval_batch = bench.first_test_samples(1024, /*flat=*/true);
  Json results{{"config", settings},
               {"final_test_acc", nullptr},
               {"log", Json::array()},
               {"environment", support::environment(bench.device())}};
  results["finished"] = false;
  if (s.baseline) {
    results["baseline"] = {{"test_acc", *s.baseline}, {"source", "--baseline"}};
  } else if (earlier.contains("baseline")) {
    results["baseline"] = earlier["baseline"];
    support::say_kept(fmt::format("frozen blocks, seed {}", s.seed));
  } else {
    Json nothing = Json::array();
    const double frozen =
        train(s, bench, fmt::format("frozen blocks, seed {}", s.seed), "frozen", {}, nothing, [](auto&&...) {});
    results["baseline"] = {
        {"test_acc", frozen},
        {"source", "trained here: blocks fixed at their start, embed by DFA credit, readout by the loss"}};
    file.write(results);
  }
  const double baseline = results["baseline"]["test_acc"].get<double>();

  Diagnosis last;
  Json log = Json::array();
  const auto title = fmt::format("{}, lam {}, seed {}", s.method, s.lam, s.seed);
  const double accuracy = train(
      s, bench, title, s.method, eval_batch, log,
      [&](support::Trainer& trainer, std::int64_t epoch, const support::TrainingLog& training) {
        const bool final = epoch == s.epochs;
        if (epoch <= 1 || epoch % 10 == 0 || final) {
          last = diagnose(trainer, eval_batch);
          log.push_back(log_entry(epoch, last));
          if (!s.run.quiet) {
            const auto figure = [](const diagnostics::Measured& m) {
              return m.value ? fmt::format("{:.3e}", *m.value) : std::string("null");
            };
            fmt::print("  epoch {}: |h_L| {} |g_2| {} accuracy on {} samples {:.4f}\n", epoch,
                       figure(last.hidden.back()), figure(last.gradients[judged_layer]), eval_batch.target.size(0),
                       last.accuracy);
          }
        }
        if (final) {
          support::save_weights(weights_path, trainer.module(), support::rule_name(s.method), trainer.credit_tensors(),
                                {{"config", settings.dump()}, {"test_acc", std::to_string(training.test_acc.back())}});
        }
        results["log"] = log;
        results["transitions"] = support::transitions_json(training);
        if (epoch > 0) file.write(results);
      });

  const auto [letter, why] = outcome(s, last, accuracy, baseline, eval_batch.target.size(0));
  results["final_test_acc"] = accuracy;
  results["outcome"] = {{"letter", letter}, {"why", why}, {"growth", support::value({.value = growth(last)})}};
  results["finished"] = true;
  file.write(results);
  print_outcome(results, file.path().string(), weights_path);
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_with_flags<Settings>(
      "Trains DFA, or another rule, on a residual MLP (d=256, L=4) with a penalty on each block's output, and judges "
      "the outcome:\n"
      "A bounded, healthy and better than frozen blocks; B bounded and healthy but not better; C still exploded.",
      "dfa_residual_penalty", argc, argv, declare, run);
}
