// Trains back-propagation, credit rules and controls on a data set and reports accuracy and each block's alignment with
// the true gradient: the script train_methods (docs/experiments/train_methods.md).

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <creditlib/diagnostics/norms.hpp>

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

struct Settings {
  std::string arch = "resmlp";
  std::vector<std::string> methods{"bp", "fa", "dfa"};
  std::vector<std::int64_t> seeds{42, 123, 456};
  std::int64_t epochs = 100, num_blocks = 0, d_hidden = 0;
  std::string output_dir = "results/reproduce", precision = "float32", credit_point = "output";
  double penalty_lam = 0, clip = 0;
  std::string init_from = {};
  double lr = 1e-3, wd = 0.01;
  bool save_weights = false, retrain = false;
  support::RunFlags run = {};

  support::Resume resume() const { return {.lists = {"methods", "seeds"}, .retrain = retrain}; }
};

void add_flags(CLI::App& app, Settings& s) {
  using support::flag;
  app.add_option("--arch", s.arch, "resmlp (d=256, L=4), resmlp_d512_L2, vit, resnet or cnn")
      ->check(CLI::IsMember(support::arch_names()))
      ->capture_default_str();
  app.add_option("--methods", s.methods,
                 "bp, fa, dfa, oracle, vec, value_net, state_predictor, ep; controls: frozen (blocks fixed, embed by "
                 "DFA's credit), frozen_bp (embed by bp), shallow (no blocks)")
      ->expected(1, -1)
      ->check(CLI::IsMember(support::method_names()))
      ->capture_default_str();
  app.add_option("--seeds", s.seeds, "one run of each method a seed")->expected(1, -1)->capture_default_str();
  app.add_option("--epochs", s.epochs, "the learning rate's cosine falls to 0 over them")
      ->check(support::whole(1))
      ->capture_default_str();
  app.add_option(flag("num_blocks"), s.num_blocks, "L of a residual MLP (0: the network's own)")
      ->check(support::whole(0))
      ->capture_default_str();
  app.add_option(flag("d_hidden"), s.d_hidden, "d of a residual MLP (0: the network's own)")
      ->check(support::whole(0))
      ->capture_default_str();
  app.add_option(flag("output_dir"), s.output_dir, "where results_{dataset}.json goes")->capture_default_str();
  app.add_option(flag("penalty_lam"), s.penalty_lam, "adds this times the mean of ||f_l||^2 to each block's loss")
      ->check(support::not_negative())
      ->capture_default_str();
  app.add_option("--clip", s.clip, "clips each block's gradient norm to this (0: not at all)")
      ->check(support::not_negative())
      ->capture_default_str();
  app.add_option("--lr", s.lr, "AdamW's learning rate")->check(support::not_negative())->capture_default_str();
  app.add_option("--wd", s.wd, "AdamW's weight decay")->check(support::not_negative())->capture_default_str();
  app.add_option(flag("init_from"), s.init_from,
                 "start from the weights, and what the method has of its own, of this safetensors file");
  app.add_flag(flag("save_weights"), s.save_weights,
               "write weights, and what the method has of its own, as safetensors beside the results");
  app.add_option("--precision", s.precision,
                 "of large matrix products: float32, or bf16 with float32 weights (residual MLPs)")
      ->check(CLI::IsMember({"float32", "bf16"}))
      ->capture_default_str();
  app.add_option(flag("credit_point"), s.credit_point,
                 "where oracle, vec, value_net and state_predictor estimate block l's credit: at its output, or at its "
                 "input (networks whose hidden states have one shape)")
      ->check(CLI::IsMember({"output", "input"}))
      ->capture_default_str();
  support::add_retrain_flag(app, s.retrain);
  support::add_run_flags(app, s.run);
}

Json config(const Settings& s) {
  return {{"arch", s.arch},
          {"num_blocks", s.num_blocks},
          {"d_hidden", s.d_hidden},
          {"dataset", s.run.dataset},
          {"methods", s.methods},
          {"seeds", s.seeds},
          {"epochs", s.epochs},
          {"gpu", s.run.gpu},
          {"output_dir", s.output_dir},
          {"penalty_lam", s.penalty_lam},
          {"clip", s.clip},
          {"batch_size", s.run.batch_size},
          {"lr", s.lr},
          {"wd", s.wd},
          {"limit_train", s.run.limit_train},
          {"init_from", s.init_from},
          {"precision", s.precision},
          {"credit_point", s.credit_point}};
}

/// On the first samples of the test set, in eval mode: the rule's own credit against the network's own gradients.
Json diagnose(support::AnyTrainer& trainer, const data::Batch& batch) {
  const diagnostics::EvalMode eval(trainer.model().module());
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

std::filesystem::path weights_path(const Settings& s, const std::string& method, std::int64_t seed) {
  return std::filesystem::path(s.output_dir) /
         fmt::format("weights_{}_{}_s{}.safetensors", s.run.dataset, method, seed);
}

std::unique_ptr<support::AnyTrainer> make_trainer(const std::string& method, std::int64_t seed, const Settings& s,
                                                  const support::Workbench& bench) {
  torch::manual_seed(static_cast<std::uint64_t>(seed));
  support::MethodSettings settings{.options = {.lr = s.lr, .weight_decay = s.wd, .epochs = s.epochs, .seed = seed},
                                   .penalty = s.penalty_lam,
                                   .batch_size = s.run.batch_size};
  if (s.credit_point == "input") settings.estimate_at(creditlib::CreditPoint::BlockInput);
  if (s.clip > 0) settings.options.clip_norm = s.clip;
  if (s.precision == "bf16") settings.options.precision = creditlib::MatmulPrecision::BFloat16;
  return support::make_trainer(s.arch, method, bench, settings, s.init_from, s.d_hidden, s.num_blocks);
}

/// One method with one seed. `record` is called after every epoch with what is known by then.
void run(const std::string& method, std::int64_t seed, const Settings& s, const support::Workbench& bench,
         const std::function<void(const Json&)>& record) {
  const auto trainer = make_trainer(method, seed, s, bench);
  const bool flat = support::takes_flat_images(s.arch);
  auto batches = bench.train_batches(seed, flat);
  auto test = bench.test_batches(flat);
  const auto eval_batch = bench.first_test_samples(128, flat);

  const auto checkpoint =
      std::filesystem::path(s.output_dir) / fmt::format("checkpoint_{}_{}_s{}.pt", s.run.dataset, method, seed);
  const support::TrainingPlan plan{
      .title = fmt::format("{}, seed {}", method, seed),
      .quiet = s.run.quiet,
      .allow_nonfinite = s.run.allow_nonfinite,
      .eval_batch = eval_batch,
      .checkpoint = {
          .path = checkpoint, .settings = support::fixed_settings(config(s), s.resume()), .retrain = s.retrain}};
  support::train(*trainer, batches, test, plan, [&](const support::TrainingLog& log, std::int64_t epoch) {
    const bool last = epoch == s.epochs;
    if (last && s.save_weights) {
      support::save_weights(weights_path(s, method, seed), trainer->model().module(), support::rule_name(method),
                            trainer->credit_tensors(),
                            {{"arch", s.arch},
                             {"dataset", s.run.dataset},
                             {"method", method},
                             {"credit_point", s.credit_point},
                             {"seed", std::to_string(seed)},
                             {"epochs", std::to_string(s.epochs)}});
    }
    const auto start = std::chrono::steady_clock::now();
    const auto figures = diagnose(*trainer, eval_batch);
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
    record({{"log", {{"train_loss", log.train_loss}, {"train_acc", log.train_acc}, {"test_acc", log.test_acc}}},
            {"diagnostics", figures},
            {"diagnostics_ms", taken.count()},
            {"transitions", support::transitions_json(log)},
            {"ms_per_step", support::median(log.ms_per_step)},
            {"steps", trainer->steps()},
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
  support::Table table({"method", "test accuracy", "alignment with the true gradient, block by block", "ms a step"});
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

void run_all(const Settings& s) {
  if ((s.num_blocks > 0 || s.d_hidden > 0) && !support::takes_flat_images(s.arch)) {
    throw support::UsageError("--num_blocks and --d_hidden are of residual MLPs; --arch " + s.arch + " has its own");
  }
  support::check_distinct("--methods", s.methods);
  support::check_distinct("--seeds", s.seeds);
  const support::ResultsFile file(std::filesystem::path(s.output_dir) / fmt::format("results_{}.json", s.run.dataset));
  Json settings = config(s);
  Json results = support::earlier_results(file, settings, s.resume());
  const support::Workbench bench(s.run);
  // What cannot be trained says so before anything has been.
  for (const auto& method : s.methods) make_trainer(method, s.seeds.front(), s, bench);

  for (const auto seed : s.seeds) {
    for (const auto& method : s.methods) {
      if (finished(results, method, seed, s)) {
        support::say_kept(fmt::format("{}, seed {}", method, seed));
        continue;
      }
      run(method, seed, s, bench, [&](const Json& entry) {
        results[std::to_string(seed)][method] = entry;
        Json all = results;
        all["config"] = settings;
        all["environment"] = support::environment(bench.device());
        file.write(all);
      });
    }
  }
  print_table(results, s, file.path());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Trains a network with back-propagation and with local credit rules, and measures how well each rule's "
      "credit\naligns with the true gradient.",
      "train_methods");
  Settings settings;
  add_flags(app, settings);
  return support::run_program(app, argc, argv, [&] { run_all(settings); });
}
