// SPDX-License-Identifier: Apache-2.0
// Trains the small convolutional network by one method and measures the rule's own credit: the script cnn_baseline
// (docs/experiments/cnn_baseline.md).

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/norms.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <map>

#include "support/figures.hpp"
#include "support/methods.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/settling.hpp"
#include "support/training.hpp"
#include "support/weights.hpp"
#include "support/workbench.hpp"

namespace {

namespace diagnostics = creditlib::diagnostics;
using Json = nlohmann::ordered_json;

struct Settings {
  std::string method = {};
  std::int64_t seed = 42, epochs = 100, T_nudge = 20, K = 4;
  std::string output_dir = "results/cnn_baseline";
  double lr = 1e-3, wd = 0.01, beta = 0.5, alpha_nudge = 0.05, lr_fb = 3e-4, lam = 0.1, sigma_bridge = 0.01,
         ema_momentum = 0.99, term_grad_weight = 0.1;
  std::string ep_inner = "mean";
  bool ep_centred = false, retrain = false;
  support::RunFlags run = {};
};

/// The script's names of methods, and the library's.
const std::map<std::string, std::string> methods{
    {"bp", "bp"}, {"dfa", "dfa"}, {"ep", "ep"}, {"state_bridge", "state_predictor"}, {"credit_bridge", "value_net"}};

void declare(support::Flags& flags, Settings& s) {
  std::vector<std::string> names;
  for (const auto& [name, rule] : methods) names.push_back(name);
  flags.choice("method", s.method, names, "bp, dfa, ep, state_bridge or credit_bridge", {.required = true});
  flags.add("seed", s.seed, "of the weights, the feedback, the nets and the batches");
  flags.add("output_dir", s.output_dir, "where {method}_s{seed}.json and its weights go");
  flags.count("epochs", s.epochs, 1, "the learning rate's cosine falls to 0 over them");
  flags.number("lr", s.lr, "AdamW's learning rate");
  flags.number("wd", s.wd, "AdamW's weight decay");
  flags.number("beta", s.beta, "ep: the nudge's strength");
  flags.count("T_nudge", s.T_nudge, 1, "ep: steps of the nudged phase");
  flags.number("alpha_nudge", s.alpha_nudge, "ep: their rate");
  flags.choice("ep_inner", s.ep_inner, {"mean", "sample"},
               "ep: the states descend the batch mean of the energy and blocks its sum, clipped together (mean, the "
               "script's way), or each sample its own (sample)");
  flags.add("ep_centred", s.ep_centred, "ep: nudges both ways");
  flags.number("lr_fb", s.lr_fb, "state_bridge, credit_bridge: the nets' learning rate (Adam)");
  flags.number("lam", s.lam, "credit_bridge: temperature of the soft minimum");
  flags.count("K", s.K, 1, "credit_bridge: noisy samples of the next state");
  flags.number("sigma_bridge", s.sigma_bridge, "credit_bridge: their noise");
  flags.number("ema_momentum", s.ema_momentum, "credit_bridge: of the copies that targets come from");
  flags.number("term_grad_weight", s.term_grad_weight,
               "credit_bridge: weight of matching the true gradient at the last state (read but never used by the "
               "script: 0 for its way)");
  flags.record("dataset", s.run.dataset);
  flags.record("batch_size", s.run.batch_size);
  flags.record("limit_train", s.run.limit_train);
  support::add_retrain_flag(flags, s.retrain);
  support::add_run_flags(flags, s.run);
}

Json config(const Settings& s) { return support::config_of(s, declare); }

support::MethodSettings method_settings(const Settings& s) {
  const bool script_ep = s.ep_inner == "mean";
  support::MethodSettings m{.options = {.lr = s.lr, .weight_decay = s.wd, .epochs = s.epochs, .seed = s.seed}};
  // As the script has it: blocks are clipped in all rules but bp, ep clips all parameters together, feedback has a row
  // an element.
  if (s.method != "bp") m.options.clip_norm = 1.0;
  if (s.method == "ep" && script_ep) m.options.clip_scope = creditlib::ClipScope::All;
  m.rule.by_element = true;
  m.rule.value_net.samples = s.K;
  m.rule.value_net.sigma = s.sigma_bridge;
  m.rule.value_net.lambda = s.lam;
  m.rule.value_net.ema = s.ema_momentum;
  m.rule.value_net.terminal_gradient_weight = s.term_grad_weight;
  m.rule.value_net.lr = s.lr_fb;
  m.rule.state_predictor.lr = s.lr_fb;
  m.rule.ep = support::settling(config(s));
  return m;
}

/// Gamma and rho of the rule's own credit at the output of each block, on the first test batch, in eval mode.
Json diagnose(support::Trainer& trainer, const creditlib::data::Batch& batch) {
  const diagnostics::EvalMode eval(trainer.module());
  const auto& [x, y] = batch;
  const auto credits = trainer.raw_credits(x, y);
  const auto gamma = diagnostics::alignment(credits, trainer.model().true_gradients(x, y));
  const auto correlations = trainer.model().perturbation_correlation(x, y, credits, {});
  std::vector<diagnostics::Measured> gammas(gamma.begin() + 1, gamma.end()), rhos;
  Json intervals = Json::array();
  for (std::size_t l = 1; l < correlations.size(); ++l) {
    rhos.push_back(correlations[l].rho);
    const auto& interval = correlations[l].rho.interval;
    intervals.push_back(interval ? Json{interval->low, interval->high} : Json(nullptr));
  }
  const auto hidden = trainer.model().hidden_states(x);
  return {{"Gamma", support::mean_of(gammas)},
          {"rho", support::mean_of(rhos)},
          {"gammas_per_layer", support::values(gammas)},
          {"rhos_per_layer", support::values(rhos)},
          {"rho_intervals", intervals},
          {"hidden_norms", support::values(diagnostics::median_norms(hidden))},
          {"undefined", support::reasons({{"gammas_per_layer", gammas}, {"rhos_per_layer", rhos}})},
          {"mode", "eval"},
          {"samples", x.size(0)}};
}

void print_outcome(const Settings& s, const Json& results, const std::string& stem) {
  fmt::print("\n[{} s={}] acc={:.4f} Gamma={} rho={}\n", s.method, s.seed, results["acc"].get<double>(),
             support::shown(results["Gamma"]), support::shown(results["rho"]));
  fmt::print("  gammas_per_layer={}\n  rhos_per_layer  ={}\n", support::shown(results["gammas_per_layer"]),
             support::shown(results["rhos_per_layer"]));
  if (!results["relative_nudge"].empty())
    fmt::print("  nudge |s_l - h_l|/|h_l| in the last step: {}\n", support::shown(results["relative_nudge"]));
  fmt::print("results: {}.json\n", stem);
  if (std::filesystem::exists(stem + ".safetensors")) fmt::print("weights and nets: {}.safetensors\n", stem);
}

void run(Settings s) {
  const auto stem = (std::filesystem::path(s.output_dir) / fmt::format("{}_s{}", s.method, s.seed)).string();
  const support::ResultsFile file(stem + ".json");
  const support::Resume resume{.retrain = s.retrain};
  Json settings = config(s);
  const Json earlier = support::earlier_results(file, settings, resume);
  if (earlier.value("finished", false)) {
    support::say_kept(fmt::format("{}, seed {}", s.method, s.seed));
    return print_outcome(s, earlier, stem);
  }

  const support::Workbench bench(s.run);
  torch::manual_seed(static_cast<std::uint64_t>(s.seed));
  auto trainer = support::make_trainer("cnn", methods.at(s.method), bench, method_settings(s));
  auto batches = bench.train_batches(s.seed, /*flat=*/false);
  auto test = bench.test_batches(/*flat=*/false);
  const auto eval_batch = bench.first_test_samples(128, /*flat=*/false);

  Json results{{"method", s.method}, {"seed", s.seed}, {"acc", nullptr}};
  const support::TrainingPlan plan{.title = fmt::format("{}, seed {}", s.method, s.seed),
                                   .quiet = s.run.quiet,
                                   .allow_nonfinite = s.run.allow_nonfinite,
                                   .tensorboard = s.run.tensorboard,
                                   .eval_batch = eval_batch,
                                   .checkpoint = {.path = std::filesystem::path(s.output_dir) /
                                                          fmt::format("checkpoint_{}_s{}.pt", s.method, s.seed),
                                                  .settings = support::fixed_settings(settings, resume),
                                                  .retrain = s.retrain,
                                                  .flags = s.run.checkpoints}};
  support::train(trainer, batches, test, plan, [&](const support::TrainingLog& log, std::int64_t epoch) {
    const bool last = epoch == s.epochs;
    results["acc"] = log.test_acc.back();
    if (last) results.update(diagnose(trainer, eval_batch));
    results.update(settings);  // the script's keys, beside the results
    results["log"] = {{"train_loss", log.train_loss}, {"train_acc", log.train_acc}, {"test_acc", log.test_acc}};
    results["transitions"] = support::transitions_json(log);
    results["relative_nudge"] = trainer.relative_nudge();
    results["ms_per_step"] = support::median(log.ms_per_step);
    results["config"] = settings;
    results["environment"] = support::environment(bench.device());
    results["finished"] = last;
    if (last) {
      support::save_weights(stem + ".safetensors", trainer.module(), methods.at(s.method), trainer.credit_tensors(),
                            {{"arch", "cnn"},
                             {"dataset", s.run.dataset},
                             {"method", methods.at(s.method)},
                             {"seed", std::to_string(s.seed)},
                             {"epochs", std::to_string(s.epochs)},
                             {"config", settings.dump()}});
    }
    file.write(results);
  });
  print_outcome(s, results, stem);
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_with_flags<Settings>(
      "Trains a small convolutional network on CIFAR by back-propagation or by one credit rule, and measures the "
      "rule's credit.",
      "cnn_baseline", argc, argv, declare, run);
}
