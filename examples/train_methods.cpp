// Trains bp, fa, dfa or the exact oracle on a data set and reports accuracy and each block's alignment with the true gradient:
// the script train_methods (docs/experiments/train_methods.md).

#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/eval_mode.hpp>
#include <creditlib/diagnostics/norms.hpp>
#include <creditlib/io/json_file.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "support/figures.hpp"
#include "support/methods.hpp"
#include "support/program.hpp"
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
  app.add_option("--arch", s.arch, "resmlp (d=256, L=4), resmlp_d512_L2, vit, resnet or cnn")->check(CLI::IsMember(support::arch_names()))->capture_default_str();
  app.add_option("--methods", s.methods, "bp, fa, dfa, oracle, vec, value_net, state_predictor, ep; controls: frozen (blocks fixed, embed by DFA's credit), frozen_bp (embed by bp), shallow (no blocks)")->expected(1, -1)->check(CLI::IsMember(support::method_names()))->capture_default_str();
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
  Json figures{{"bp_cosine", support::values(at_input)},
               {"bp_grad_norms_per_layer", support::values(diagnostics::median_norms(mean_gradients))},
               {"hidden_norms_per_layer", support::values(diagnostics::median_norms(trainer.model().hidden_states(x)))},
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
  support::MethodSettings settings{.options = {.lr = s.lr, .weight_decay = s.wd, .epochs = s.epochs, .seed = seed},
                                   .penalty = s.penalty_lam,
                                   .batch_size = s.run.batch_size};
  if (s.clip > 0) settings.options.clip_norm = s.clip;
  const auto trainer = support::make_trainer(s.arch, method, bench, settings, s.init_from);
  const bool flat = support::takes_flat_images(s.arch);
  auto batches = bench.train_batches(seed, flat);
  auto test = bench.test_batches(flat);
  const auto eval_batch = bench.first_test_samples(128, flat);

  const support::TrainingPlan plan{.title = fmt::format("{}, seed {}", method, seed), .quiet = s.run.quiet, .allow_nonfinite = s.run.allow_nonfinite, .eval_batch = eval_batch};
  support::train(*trainer, batches, test, plan, [&](const support::TrainingLog& log, std::int64_t epoch) {
    record({{"log", {{"train_loss", log.train_loss}, {"train_acc", log.train_acc}, {"test_acc", log.test_acc}}},
            {"diagnostics", diagnose(*trainer, eval_batch)},
            {"transitions", support::transitions_json(log)},
            {"ms_per_step", support::median(log.ms_per_step)},
            {"steps", trainer->steps()},
            {"finished", epoch == s.epochs}});
  });
  if (s.save_weights) {
    const auto path = std::filesystem::path(s.output_dir) / fmt::format("weights_{}_{}_s{}.safetensors", s.run.dataset, method, seed);
    support::save_weights(path, trainer->model().module(), support::feedback_name(method), trainer->credit_tensors(),
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
