// SPDX-License-Identifier: Apache-2.0
// Trains a residual MLP under schedules of DFA's credit and a vector net's, and asks whether good credit is worth more
// early: the script schedule_timing (docs/experiments/schedule_timing.md).

#include <fmt/format.h>

#include <cmath>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <functional>
#include <map>

#include "support/figures.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/table.hpp"
#include "support/training.hpp"
#include "support/workbench.hpp"

namespace {

namespace diagnostics = creditlib::diagnostics;
using Json = nlohmann::ordered_json;

struct Settings {
  std::int64_t num_blocks = 4, d_hidden = 256, epochs = 100, seed = 42, M = 4;
  double lr = 1e-3, lr_fb = 1e-3, wd = 0.01, pert_eps = 1e-3;
  std::vector<std::string> schedules{"published"};
  std::string output_dir = "results/schedule_timing";
  std::string credit_point = "input";
  bool retrain = false;
  support::RunFlags run = {};

  support::Resume resume() const { return {.lists = {"schedules"}, .retrain = retrain}; }
};

void declare(support::Flags& flags, Settings& s) {
  flags.count("num_blocks", s.num_blocks, 1, "L");
  flags.count("d_hidden", s.d_hidden, 1, "d");
  flags.record("batch_size", s.run.batch_size);
  flags.count("epochs", s.epochs, 1, "the learning rate's cosine falls to 0 over them");
  flags.number("lr", s.lr, "AdamW's learning rate");
  flags.number("lr_fb", s.lr_fb, "the vector net's learning rate (Adam)");
  flags.number("wd", s.wd, "AdamW's weight decay");
  flags.count("M", s.M, 1, "directions of the vector net's perturbation targets");
  flags.number("pert_eps", s.pert_eps, "length of the vector net's perturbations");
  flags.add("schedules", s.schedules,
            "DFA_only, Vec_only_from_0, Vec_early_then_DFA_T{k}, DFA_then_Vec_T{k}, Hybrid_blend_{alpha}; published: "
            "the first four with k = 5 and 20 of 100 epochs, or in proportion to --epochs");
  flags.add("seed", s.seed, "of the weights, the feedback and the batches");
  flags.choice("credit_point", s.credit_point, {"input", "output"},
               "where the vector net estimates block l's credit: input (the script's way) or output");
  flags.record("dataset", s.run.dataset);
  flags.record("limit_train", s.run.limit_train);
  flags.add("output_dir", s.output_dir, "where schedules_s{seed}.json goes");
  support::add_retrain_flag(flags, s.retrain);
  support::add_run_flags(flags, s.run);
}

Json config(const Settings& s) { return support::config_of(s, declare); }

/// A schedule of the script by its name.
struct ScheduleSpec {
  enum class Kind { DfaOnly, VecOnly, VecThenDfa, DfaThenVec, Blend } kind = Kind::DfaOnly;
  std::int64_t switch_epoch = 0;
  double alpha = 0;
};

/// Throws UsageError that says what the forms are.
ScheduleSpec parse(const std::string& name, std::int64_t epochs) {
  using Kind = ScheduleSpec::Kind;
  if (name == "DFA_only") return {};
  if (name == "Vec_only_from_0") return {.kind = Kind::VecOnly};
  const auto after = [&](const std::string& prefix) -> std::optional<std::string> {
    if (name.rfind(prefix, 0) != 0) return std::nullopt;
    return name.substr(prefix.size());
  };
  const auto fail = [&](const std::string& what) -> ScheduleSpec {
    throw support::UsageError("--schedules: " + name + " " + what);
  };
  const auto switching = [&](Kind kind, const std::string& digits) -> ScheduleSpec {
    if (digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != std::string::npos) {
      return fail("should end in a whole number of epochs after its T");
    }
    const std::int64_t epoch = std::stoll(digits);
    if (epoch < 1 || epoch >= epochs)
      return fail(fmt::format("switches outside the run, expected T1 to T{} of {} epochs", epochs - 1, epochs));
    return {.kind = kind, .switch_epoch = epoch};
  };
  if (const auto digits = after("Vec_early_then_DFA_T")) return switching(Kind::VecThenDfa, *digits);
  if (const auto digits = after("DFA_then_Vec_T")) return switching(Kind::DfaThenVec, *digits);
  if (const auto number = after("Hybrid_blend_")) {
    char* end = nullptr;
    const double alpha = std::strtod(number->c_str(), &end);
    if (number->empty() || *end != 0 || !(alpha >= 0 && alpha <= 1)) return fail("should end in an alpha in 0..1");
    return {.kind = Kind::Blend, .alpha = alpha};
  }
  return fail(
      "is no schedule; the forms are DFA_only, Vec_only_from_0, Vec_early_then_DFA_T{k}, DFA_then_Vec_T{k} and "
      "Hybrid_blend_{alpha}");
}

std::string mode_of(const ScheduleSpec& spec, const std::vector<double>& weights) {
  using Kind = ScheduleSpec::Kind;
  if (spec.kind == Kind::DfaOnly) return "dfa";
  if (spec.kind == Kind::VecOnly) return "vec";
  if (spec.kind == Kind::Blend) return fmt::format("blend_{:.2f}", spec.alpha);
  const bool vec = (spec.kind == Kind::VecThenDfa) == (weights[0] != 0);
  return vec ? "vec" : "dfa";
}

support::Trainer make_trainer(const ScheduleSpec& spec, const Settings& s, const support::Workbench& bench) {
  using namespace creditlib;
  torch::manual_seed(static_cast<std::uint64_t>(s.seed));
  ResidualMLP model({.input = bench.input(), .width = s.d_hidden, .classes = bench.classes(), .blocks = s.num_blocks});
  model->to(torch::Device(bench.device()));
  const TrainerOptions options{.lr = s.lr,
                               .weight_decay = s.wd,
                               .clip_norm = 1.0,
                               .epochs = s.epochs,
                               .seed = s.seed,
                               .group = support::group()};
  const Vec vec{.directions = s.M,
                .epsilon = s.pert_eps,
                .lr = s.lr_fb,
                .at = s.credit_point == "input" ? CreditPoint::BlockInput : CreditPoint::BlockOutput};
  using Kind = ScheduleSpec::Kind;
  switch (spec.kind) {
    case Kind::DfaOnly: return support::Trainer(LocalTrainer(model, DFA{}, options));
    case Kind::VecOnly: return support::Trainer(LocalTrainer(model, vec, options));
    case Kind::VecThenDfa:
      return support::Trainer(LocalTrainer(model, Mix{vec, DFA{}}, options, SwitchAt{.epoch = spec.switch_epoch}));
    case Kind::DfaThenVec:
      // The script trains the net from five epochs before the last one of DFA on.
      return support::Trainer(
          LocalTrainer(model, Mix{DFA{}, vec}, options, SwitchAt{.epoch = spec.switch_epoch, .lead = 6}));
    default: return support::Trainer(LocalTrainer(model, Mix{DFA{}, vec}, options, Blend{.alpha = spec.alpha}));
  }
}

/// Gamma and rho on the first test batch, in eval mode. As the script has it, block l's credit is compared at its input
/// h_l; beside it at its output h_{l+1}.
void diagnose(support::Trainer& trainer, const creditlib::data::Batch& batch, std::int64_t epoch, Json& entry) {
  const diagnostics::EvalMode eval(trainer.module());
  const auto& [x, y] = batch;
  const auto credits = trainer.raw_credits(x, y);
  const auto gradients = trainer.model().true_gradients(x, y);
  support::Tensors at_input(credits.begin() + 1, credits.end());
  at_input.emplace_back();
  const auto gamma = diagnostics::alignment(at_input, gradients);
  const auto gamma_output = diagnostics::alignment(credits, gradients);
  const auto rhos = [&](const support::Tensors& a) {
    std::vector<diagnostics::Measured> values;
    for (const auto& found : trainer.model().perturbation_correlation(x, y, a, {})) values.push_back(found.rho);
    return values;
  };
  const auto rho = rhos(at_input), rho_output = rhos(credits);
  entry["gamma"].push_back({epoch, support::mean_of(gamma)});
  entry["rho"].push_back({epoch, support::mean_of(rho)});
  const auto blocks = [](std::vector<diagnostics::Measured> all, bool inputs) {
    inputs ? all.pop_back() : static_cast<void>(all.erase(all.begin()));
    return all;
  };
  const std::vector<std::pair<std::string, std::vector<diagnostics::Measured>>> figures{
      {"gamma_block_input", blocks(gamma, true)},
      {"rho_block_input", blocks(rho, true)},
      {"gamma_block_output", blocks(gamma_output, false)},
      {"rho_block_output", blocks(rho_output, false)}};
  Json look{{"epoch", epoch}};
  for (const auto& [name, values] : figures) look[name] = support::values(values);
  if (auto reasons = support::reasons(figures); !reasons.empty()) look["undefined"] = reasons;
  entry["diagnostics"].push_back(look);
}

/// The accuracy after `epoch` epochs, or after the last where there are fewer.
double accuracy_at(const Json& entry, std::size_t epoch) {
  const auto& all = entry["test_acc"];
  return all[std::min(epoch, all.size()) - 1].get<double>();
}

/// Of the entries [epoch, value] up to epoch 20.
double early_mean(const Json& pairs) {
  std::vector<double> numbers;
  for (const auto& pair : pairs) {
    if (pair[0].get<std::int64_t>() <= 20 && pair[1].is_number()) numbers.push_back(pair[1].get<double>());
  }
  return numbers.empty() ? std::nan("") : support::mean(numbers);
}

double early_sum(const Json& entry) {
  double sum = 0;
  for (std::size_t i = 0; i < std::min<std::size_t>(20, entry["test_acc"].size()); ++i)
    sum += entry["test_acc"][i].get<double>();
  return sum;
}

bool finished(const Json& results, const std::string& name) {
  return results.contains(name) && results[name].value("finished", false);
}

/// The sentences of the script.
std::vector<std::string> judgement(const Json& results, std::int64_t epochs) {
  std::vector<std::string> sentences;
  if (finished(results, "Vec_only_from_0") && finished(results, "DFA_only")) {
    const auto compare = [&](const std::string& when, double vec, double dfa) {
      sentences.push_back(fmt::format("Vec_from_0 {}={:.4f} vs DFA {}={:.4f}: {}", when, vec, when, dfa,
                                      vec > dfa ? "Vec better" : "DFA better"));
    };
    const auto &vec = results["Vec_only_from_0"], &dfa = results["DFA_only"];
    if (vec["test_acc"].size() >= 20) compare("acc@20", accuracy_at(vec, 20), accuracy_at(dfa, 20));
    compare("final", accuracy_at(vec, SIZE_MAX), accuracy_at(dfa, SIZE_MAX));
  }
  const auto late_name = fmt::format("DFA_then_Vec_T{}", support::in_proportion(20, epochs));
  if (finished(results, late_name) && finished(results, "Vec_only_from_0")) {
    const double late = accuracy_at(results[late_name], SIZE_MAX),
                 early = accuracy_at(results["Vec_only_from_0"], SIZE_MAX);
    const std::string what = early > late + 0.005 ? "WARMUP TIMING HYPOTHESIS SUPPORTED: early Vec is better"
                             : std::abs(early - late) <= 0.005 ? "INCONCLUSIVE: similar final accuracy"
                                                               : "WARMUP TIMING HYPOTHESIS NOT SUPPORTED";
    sentences.push_back(fmt::format("Vec_from_0 final={:.4f} vs {} final={:.4f}: {}", early, late_name, late, what));
  }
  return sentences;
}

/// Trains under one schedule; `record` is called after every epoch with what is known by then.
void train(const std::string& name, const ScheduleSpec& spec, const Settings& s, const support::Workbench& bench,
           const std::function<void(const Json&)>& record) {
  const auto eval_batch = bench.first_test_samples(s.run.batch_size, /*flat=*/true);
  auto trainer = make_trainer(spec, s, bench);
  if (bench.cuda_graph()) trainer.use_cuda_graphs();
  auto batches = bench.train_batches(s.seed, /*flat=*/true);
  auto test = bench.test_batches(/*flat=*/true);
  Json entry{{"test_acc", Json::array()},   {"train_loss", Json::array()},  {"gamma", Json::array()},
             {"rho", Json::array()},        {"credit_mode", Json::array()}, {"diagnostics", Json::array()},
             {"transitions", Json::array()}};
  const support::TrainingPlan plan{
      .title = name,
      .quiet = s.run.quiet,
      .allow_nonfinite = s.run.allow_nonfinite,
      .tensorboard = s.run.tensorboard,
      .eval_batch = eval_batch,
      .checkpoint = {.path = std::filesystem::path(s.output_dir) / fmt::format("checkpoint_s{}_{}.pt", s.seed, name),
                     .settings = support::fixed_settings(config(s), s.resume()),
                     .record = &entry,
                     .retrain = s.retrain,
                     .flags = s.run.checkpoints}};
  support::train(trainer, batches, test, plan, [&](const support::TrainingLog& log, std::int64_t epoch) {
    entry["test_acc"] = log.test_acc;
    entry["train_loss"] = log.train_loss;
    entry["transitions"] = support::transitions_json(log);
    entry["ms_per_step"] = support::median(log.ms_per_step);
    entry["credit_mode"].push_back(mode_of(spec, trainer.weights()));
    if (epoch % 5 == 0 || epoch <= 5 || epoch == s.epochs) diagnose(trainer, eval_batch, epoch, entry);
    entry["environment"] = support::environment(bench.device());
    entry["finished"] = epoch == s.epochs;
    record(entry);
  });
}

/// The published schedules, as far as a run of so many epochs has room to switch.
std::vector<std::string> published_schedules(std::int64_t epochs) {
  std::vector<std::string> names{"DFA_only", "Vec_only_from_0"};
  if (epochs > 1) {
    names.push_back(fmt::format("Vec_early_then_DFA_T{}", support::in_proportion(5, epochs)));
    names.push_back(fmt::format("DFA_then_Vec_T{}", support::in_proportion(20, epochs)));
  }
  return names;
}

/// Names with what "published" stands for in its place.
std::vector<std::string> spelt_out(const std::vector<std::string>& names, std::int64_t epochs) {
  std::vector<std::string> all;
  for (const auto& name : names) {
    if (name != "published") {
      all.push_back(name);
    } else {
      for (const auto& published : published_schedules(epochs)) all.push_back(published);
    }
  }
  support::check_distinct("--schedules", all);
  return all;
}

void run(Settings s) {
  s.schedules = spelt_out(s.schedules, s.epochs);
  std::vector<ScheduleSpec> specs;
  for (const auto& name : s.schedules) specs.push_back(parse(name, s.epochs));
  const support::ResultsFile file(std::filesystem::path(s.output_dir) / fmt::format("schedules_s{}.json", s.seed));
  Json settings = config(s);
  Json results = support::earlier_results(file, settings, s.resume());
  const Json earlier = results;
  const support::Workbench bench(s.run);

  const auto write = [&] {
    Json all = results;
    all["config"] = settings;
    all["environment"] = support::environment(bench.device());
    file.write(all);
  };
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto& name = s.schedules[i];
    if (finished(results, name)) {
      support::say_kept(name);
      continue;
    }
    train(name, specs[i], s, bench, [&](const Json& entry) {
      results[name] = entry;
      write();
    });
  }

  support::Table table({"schedule", "acc@5", "acc@10", "acc@20", "acc@50", "final", "mean Gamma to 20",
                        "mean rho to 20", "AUC of acc to 20"});
  for (const auto& name : settings["schedules"].get<std::vector<std::string>>()) {  // an earlier run's too
    if (!finished(results, name)) continue;
    const auto& entry = results[name];
    std::vector<std::string> row{name};
    for (const std::size_t epoch : {std::size_t{5}, std::size_t{10}, std::size_t{20}, std::size_t{50}, SIZE_MAX})
      row.push_back(fmt::format("{:.4f}", accuracy_at(entry, epoch)));
    row.push_back(fmt::format("{:.4f}", early_mean(entry["gamma"])));
    row.push_back(fmt::format("{:.4f}", early_mean(entry["rho"])));
    row.push_back(fmt::format("{:.2f}", early_sum(entry)));
    table.add(row);
    results[name]["auc_acc_0_20"] = early_sum(entry);
  }
  const auto sentences = judgement(results, s.epochs);
  results["judgement"] = sentences;
  if (results != earlier) write();
  fmt::print("\n{}\n", table.text());
  for (const auto& sentence : sentences) fmt::print("{}\n", sentence);
  fmt::print("results: {}\n", file.path().string());
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_with_flags<Settings>(
      "Trains a residual MLP under schedules of DFA's and a vector net's credit, and compares early with late good "
      "credit.",
      "schedule_timing", argc, argv, declare, run);
}
