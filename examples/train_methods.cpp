// Trains bp, fa, dfa or the exact oracle on a data set and reports accuracy and each block's alignment with the true gradient:
// the script train_methods (docs/experiments/train_methods.md).

#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/eval_mode.hpp>
#include <creditlib/diagnostics/norms.hpp>
#include <creditlib/io/json_file.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "support/figures.hpp"
#include "support/program.hpp"
#include "support/training.hpp"
#include "support/weights.hpp"
#include "support/workbench.hpp"

namespace {

namespace data = creditlib::data;
namespace diagnostics = creditlib::diagnostics;
using Json = nlohmann::ordered_json;

/// Rules, and the controls that they are judged by: blocks fixed at their start, the embed trained by DFA's credit or by
/// back-propagation; and no blocks at all.
const std::vector<std::string> known_methods{"bp", "fa", "dfa", "oracle", "frozen", "frozen_bp", "shallow"};

struct Settings {
  std::string arch = "resmlp";
  std::vector<std::string> methods{"bp", "fa", "dfa"};
  std::vector<std::int64_t> seeds{42, 123, 456};
  std::int64_t epochs = 100;
  std::string output_dir = "results/reproduce";
  double penalty_lam = 0, clip = 0;
  std::string init_from = {};
  double lr = 1e-3, wd = 0.01;
  bool save_weights = false;
  support::RunFlags run = {};
};

void add_flags(CLI::App& app, Settings& s) {
  using support::flag;
  app.add_option("--arch", s.arch, "resmlp (d=256, L=4) or resmlp_d512_L2")->check(CLI::IsMember({"resmlp", "resmlp_d512_L2"}))->capture_default_str();
  app.add_option("--methods", s.methods, "bp, fa, dfa, oracle; controls: frozen (blocks fixed, embed by DFA's credit), frozen_bp (embed by bp), shallow (no blocks)")->expected(1, -1)->check(CLI::IsMember(known_methods))->capture_default_str();
  app.add_option("--seeds", s.seeds, "one run of each method a seed")->expected(1, -1)->capture_default_str();
  app.add_option("--epochs", s.epochs, "the learning rate's cosine falls to 0 over them")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option(flag("output_dir"), s.output_dir, "where results_{dataset}.json goes")->capture_default_str();
  app.add_option(flag("penalty_lam"), s.penalty_lam, "adds this times the mean of ||f_l||^2 to each block's loss")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--clip", s.clip, "clips each block's gradient norm to this (0: not at all)")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--lr", s.lr, "AdamW's learning rate")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--wd", s.wd, "AdamW's weight decay")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option(flag("init_from"), s.init_from, "start from the weights, and the feedback where there is any, of this safetensors file");
  app.add_flag(flag("save_weights"), s.save_weights, "write weights and feedback as safetensors beside the results");
  support::add_run_flags(app, s.run);
}

Json config(const Settings& s) {
  return {{"arch", s.arch}, {"dataset", s.run.dataset}, {"methods", s.methods}, {"seeds", s.seeds}, {"epochs", s.epochs}, {"gpu", s.run.gpu},
          {"output_dir", s.output_dir}, {"penalty_lam", s.penalty_lam}, {"clip", s.clip}, {"batch_size", s.run.batch_size}, {"lr", s.lr}, {"wd", s.wd},
          {"limit_train", s.run.limit_train}, {"init_from", s.init_from}};
}

creditlib::ResidualMLP make_model(const std::string& method, const Settings& s, const support::Workbench& bench) {
  const std::int64_t width = s.arch == "resmlp" ? 256 : 512, blocks = method == "shallow" ? 0 : s.arch == "resmlp" ? 4 : 2;
  return creditlib::ResidualMLP({.input = bench.input(), .width = width, .classes = bench.classes(), .blocks = blocks});
}

template <class LocalLoss>
std::unique_ptr<support::AnyTrainer> local_trainer(const std::string& method, creditlib::ResidualMLP model, const Settings& s,
                                                   const creditlib::TrainerOptions& options, const LocalLoss& loss,
                                                   std::vector<torch::Tensor> feedback) {
  if (method == "dfa" || method == "frozen") return support::any_trainer(creditlib::LocalTrainer(model, creditlib::DFA{std::move(feedback)}, options, {}, {}, loss));
  if (method == "fa") {
    // The script's FA credit is the gradient of the batch mean under an absolute 1e-6: B times that at per-sample scale.
    const creditlib::RowRms rms{.eps = 1e-6 * static_cast<double>(s.run.batch_size)};
    return support::any_trainer(creditlib::LocalTrainer(model, creditlib::FA{std::move(feedback)}, options, {}, rms, loss));
  }
  return support::any_trainer(creditlib::LocalTrainer(model, creditlib::Oracle{}, options, {}, {}, loss));
}

std::unique_ptr<support::AnyTrainer> make_trainer(const std::string& method, creditlib::ResidualMLP model, const Settings& s,
                                                  std::int64_t seed, std::vector<torch::Tensor> feedback) {
  creditlib::TrainerOptions options{.lr = s.lr, .weight_decay = s.wd, .epochs = s.epochs, .seed = seed};
  if (s.clip > 0) options.clip_norm = s.clip;
  if (method == "frozen" || method == "frozen_bp") {
    for (std::int64_t l = 0; l < model->blocks(); ++l) {
      for (auto& parameter : model->block_parameters(l)) parameter.requires_grad_(false);
    }
  }
  if (method == "bp" || method == "frozen_bp" || method == "shallow") {
    return support::any_trainer(creditlib::BackpropTrainer(model, options, creditlib::CrossEntropy{}, s.penalty_lam));
  }
  if (s.penalty_lam == 0) return local_trainer(method, model, s, options, creditlib::InnerProduct{}, std::move(feedback));
  return local_trainer(method, model, s, options, creditlib::PenalizedInnerProduct{.lambda = s.penalty_lam}, std::move(feedback));
}

/// On the first samples of the test set, in eval mode: the rule's own credit against the network's own gradients.
Json diagnose(support::AnyTrainer& trainer, const data::Batch& batch) {
  const diagnostics::EvalMode eval(trainer.module());
  const auto& [x, y] = batch;
  const auto gradients = trainer.true_gradients(x, y);
  const auto credits = trainer.raw_credits(x, y);
  const std::vector<torch::Tensor> outputs(credits.begin() + 1, credits.end());
  std::vector<torch::Tensor> mean_gradients;  // of the mean loss, as the script has it
  for (const auto& g : gradients) mean_gradients.push_back(g / static_cast<double>(x.size(0)));
  const auto at_output = diagnostics::alignment(outputs, {gradients.begin() + 1, gradients.end()});
  const auto at_input = diagnostics::alignment(outputs, {gradients.begin(), gradients.end() - 1});
  Json figures{{"bp_cosine", support::values(at_input)},
               {"bp_grad_norms_per_layer", support::values(diagnostics::median_norms(mean_gradients))},
               {"hidden_norms_per_layer", support::values(diagnostics::median_norms(trainer.hidden_states(x)))},
               {"gamma_block_output", support::values(at_output)},
               {"gamma_embed", support::value(diagnostics::alignment(credits[0], gradients[0]))},
               {"mode", "eval"},
               {"samples", x.size(0)}};
  if (auto reasons = support::reasons({{"gamma_block_output", at_output}, {"bp_cosine", at_input}}); !reasons.empty()) figures["undefined"] = reasons;
  return figures;
}

/// One method with one seed. `record` is called after every epoch with what is known by then.
void run(const std::string& method, std::int64_t seed, const Settings& s, const support::Workbench& bench,
         const std::function<void(const Json&)>& record) {
  torch::manual_seed(static_cast<std::uint64_t>(seed));
  auto model = make_model(method, s, bench);
  std::vector<torch::Tensor> feedback;
  if (!s.init_from.empty()) {
    const auto file = creditlib::io::read_safetensors(s.init_from);
    support::load_weights(*model, file, s.init_from);
    feedback = support::feedback_of(file, method == "frozen" ? "dfa" : method);
  }
  model->to(torch::Device(bench.device()));
  const auto trainer = make_trainer(method, model, s, seed, std::move(feedback));
  auto batches = bench.train_batches(seed, /*flat=*/true);
  auto test = bench.test_batches(/*flat=*/true);
  const auto eval_batch = bench.first_test_samples(128, /*flat=*/true);

  const support::TrainingPlan plan{.title = fmt::format("{}, seed {}", method, seed), .quiet = s.run.quiet, .allow_nonfinite = s.run.allow_nonfinite};
  support::train(*trainer, batches, test, plan, [&](const support::TrainingLog& log) {
    const bool last = trainer->epoch() == s.epochs;
    record({{"log", {{"train_loss", log.train_loss}, {"train_acc", log.train_acc}, {"test_acc", log.test_acc}}},
            {"diagnostics", diagnose(*trainer, eval_batch)},
            {"ms_per_step", support::median(log.ms_per_step)},
            {"steps", trainer->steps()},
            {"finished", last}});
  });
  if (s.save_weights) {
    const auto path = std::filesystem::path(s.output_dir) / fmt::format("weights_{}_{}_s{}.safetensors", s.run.dataset, method, seed);
    support::save_weights(path, *model, method == "frozen" ? "dfa" : method, trainer->credit_tensors(),
                          {{"arch", s.arch}, {"dataset", s.run.dataset}, {"method", method}, {"seed", std::to_string(seed)}, {"epochs", std::to_string(s.epochs)}});
  }
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
    table.add({method, support::mean_and_deviation(accuracies, 4), support::mean_by_column(gammas), fmt::format("{:.2f}", support::median(times))});
  }
  fmt::print("\n{}\n{}results: {}\n", fmt::format("{} on {}, {} epochs, seeds {}", s.arch, s.run.dataset, s.epochs, fmt::join(s.seeds, " ")), table.text(),
             path.string());
}

void run_all(const Settings& s) {
  creditlib::io::check_writable_folder(s.output_dir);
  const support::Workbench bench(s.run);

  const auto path = std::filesystem::path(s.output_dir) / fmt::format("results_{}.json", s.run.dataset);
  Json results = Json::object();
  const auto write = [&] {
    Json file = results;
    file["config"] = config(s);
    file["environment"] = support::environment(bench.device());
    creditlib::io::write_json(path, file);
  };
  for (const auto seed : s.seeds) {
    results[std::to_string(seed)] = Json::object();
    for (const auto& method : s.methods) {
      run(method, seed, s, bench, [&](const Json& entry) {
        results[std::to_string(seed)][method] = entry;
        write();
      });
    }
  }
  print_table(results, s, path);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Trains a residual MLP with back-propagation and with local credit rules, and measures how well each rule's credit\n"
               "aligns with the true gradient.", "train_methods");
  Settings settings;
  add_flags(app, settings);
  return support::run_program(app, argc, argv, [&] { run_all(settings); });
}
