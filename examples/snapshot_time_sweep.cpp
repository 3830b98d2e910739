// At snapshots of one back-propagation run, asks of each credit rule whether its update lowers the loss on the batch
// that it was made from and on another: the script snapshot_time_sweep (docs/experiments/snapshot_time_sweep.md).

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/update_utility.hpp>
#include <creditlib/io/json_file.hpp>
#include <creditlib/io/safetensors.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <functional>
#include <limits>
#include <set>

#include "support/figures.hpp"
#include "support/live_line.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/training.hpp"
#include "support/weights.hpp"
#include "support/workbench.hpp"

namespace {

namespace diagnostics = creditlib::diagnostics;
using creditlib::data::Batch;
using creditlib::data::Batches;
using Json = nlohmann::ordered_json;
using Update = std::function<support::Tensors(const torch::Tensor&, const torch::Tensor&)>;

/// Settings that a run may change and keep the results of another.
const std::set<std::string> extendable{"snapshot_epochs", "methods"};

const std::vector<std::string> method_names{"dfa", "vec_eT_M4", "oracle_bp"};
constexpr std::int64_t vec_directions = 4, rollout_steps = 5, batches_across = 4;

struct Settings {
  std::int64_t num_blocks = 4, d_hidden = 256, estimator_epochs = 60, seed = 42, trials = 20;
  double lr_fb = 1e-3, lr = 1e-3, wd = 0.01;
  std::vector<std::int64_t> snapshot_epochs{5, 20, 100};
  std::vector<double> etas = diagnostics::line_search_etas();
  std::vector<double> trial_etas{1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1};
  std::vector<std::string> methods = method_names;
  std::string output_dir = "results/snapshot_time", held_out = "test", credit_point = "input";
  bool retrain = false, script_scale = false;
  support::RunFlags run = {};

  std::int64_t epochs() const { return *std::max_element(snapshot_epochs.begin(), snapshot_epochs.end()); }
};

void add_flags(CLI::App& app, Settings& s) {
  using support::flag;
  constexpr auto largest = std::numeric_limits<std::int64_t>::max();
  const auto count = [&](const std::string& name, std::int64_t& value, std::int64_t least, const char* what) {
    app.add_option(flag(name), value, what)->check(CLI::Range(least, largest))->capture_default_str();
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
  app.add_option(flag("snapshot_epochs"), s.snapshot_epochs,
                 "epochs of back-propagation at which rules are judged (0: before the first)")
      ->expected(1, -1)
      ->check(CLI::Range(std::int64_t{0}, largest))
      ->capture_default_str();
  count("estimator_epochs", s.estimator_epochs, 0, "epochs that the vector net learns on a snapshot's features");
  number("lr_fb", s.lr_fb, "the vector net's learning rate (Adam)");
  etas("etas", s.etas, "step sizes of the line search");
  app.add_option("--methods", s.methods, "dfa, vec_eT_M4, oracle_bp")
      ->expected(1, -1)
      ->check(CLI::IsMember(method_names))
      ->capture_default_str();
  app.add_option("--seed", s.seed, "of the weights, the feedback and the batches")->capture_default_str();
  app.add_option(flag("output_dir"), s.output_dir, "where time_sweep_L{L}_d{d}_s{seed}.json and the snapshots go")
      ->capture_default_str();
  app.add_flag("--retrain", s.retrain, "make snapshots and results anew");
  number("lr", s.lr, "AdamW's learning rate, of the snapshots");
  number("wd", s.wd, "AdamW's weight decay, of the snapshots");
  choice("held_out", s.held_out, {"test", "train"},
         "where held-out batches are from: test, or train (the script's way)");
  choice("credit_point", s.credit_point, {"input", "output"},
         "where vector net and oracle give block l's credit: input (the script's way) or output");
  app.add_flag(support::flag("script_scale"), s.script_scale,
               "the oracle's credit of the batch's mean loss, 1/B of the others' (the script's way)");
  count("trials", s.trials, 0, "of the update utility with intervals (0: leave it out; it needs 20)");
  etas("trial_etas", s.trial_etas, "step sizes that it tries");
  support::add_run_flags(app, s.run);
}

/// What a snapshot depends on.
Json snapshot_config(const Settings& s) {
  return {{"dataset", s.run.dataset},
          {"limit_train", s.run.limit_train},
          {"batch_size", s.run.batch_size},
          {"num_blocks", s.num_blocks},
          {"d_hidden", s.d_hidden},
          {"epochs", s.epochs()},
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

/// The oracle, or the script's, whose credit is the gradient of the batch's mean loss.
struct ScaledOracle {
  creditlib::Oracle oracle;
  bool of_mean_loss;

  static constexpr bool wants_pullback = true;

  template <class Model>
  support::Tensors credit(Model& model, const creditlib::Trace& trace) const {
    auto credits = oracle.credit(model, trace);
    if (!of_mean_loss) return credits;
    for (auto& a : credits) {
      if (a.defined()) a = a / static_cast<double>(a.size(0));
    }
    return credits;
  }
};

creditlib::ResidualMLP make_model(const Settings& s, const support::Workbench& bench) {
  return creditlib::ResidualMLP(
      {.input = bench.input(), .width = s.d_hidden, .classes = bench.classes(), .blocks = s.num_blocks});
}

/// The snapshots of one run of back-propagation, in files that say the settings of that run.
class Snapshots {
 public:
  /// Throws Error for a file of other settings.
  explicit Snapshots(const Settings& s)
      : s_(s),
        folder_(std::filesystem::path(s.output_dir) /
                fmt::format("bp_ckpts_L{}_d{}_s{}", s.num_blocks, s.d_hidden, s.seed)) {
    creditlib::io::check_writable_folder(folder_);
    for (const auto epoch : s.snapshot_epochs) {
      if (s.retrain || !std::filesystem::exists(path(epoch))) {
        missing_.push_back(epoch);
      } else {
        check_settings(path(epoch));
      }
    }
  }

  /// Trains where there are some missing, and writes those.
  void make(const support::Workbench& bench) const {
    if (missing_.empty()) {
      fmt::print("snapshots in {} have these settings and are used again (--retrain makes them anew)\n",
                 folder_.string());
      return;
    }
    fmt::print("{}: back-propagation from the start to epoch {}\n",
               s_.retrain ? "--retrain" : fmt::format("no snapshot of epoch {} in {}", missing_[0], folder_.string()),
               s_.epochs());
    torch::manual_seed(static_cast<std::uint64_t>(s_.seed));
    auto model = make_model(s_, bench);
    model->to(torch::Device(bench.device()));
    const creditlib::TrainerOptions options{
        .lr = s_.lr, .weight_decay = s_.wd, .epochs = std::max<std::int64_t>(1, s_.epochs()), .seed = s_.seed};
    const auto trainer = support::any_trainer(creditlib::BackpropTrainer(model, options),
                                              std::make_shared<support::HeldModel<creditlib::ResidualMLP>>(model));
    auto batches = bench.train_batches(s_.seed, /*flat=*/true);
    auto test = bench.test_batches(/*flat=*/true);
    const auto save = [&](std::int64_t epoch, double accuracy) {
      if (std::find(missing_.begin(), missing_.end(), epoch) == missing_.end()) return;
      support::save_weights(path(epoch), *model, "bp", {},
                            {{"config", snapshot_config(s_).dump()},
                             {"epoch", std::to_string(epoch)},
                             {"test_acc", fmt::format("{}", accuracy)}});
      if (!s_.run.quiet) fmt::print("saved {} (test accuracy {:.4f})\n", path(epoch).string(), accuracy);
    };
    save(0, support::accuracy(*trainer, test));
    if (s_.epochs() == 0) return;
    const support::TrainingPlan plan{.title = "bp", .quiet = s_.run.quiet, .allow_nonfinite = s_.run.allow_nonfinite};
    support::train(*trainer, batches, test, plan,
                   [&](const support::TrainingLog& log, std::int64_t epoch) { save(epoch, log.test_acc.back()); });
  }

  /// The network of a snapshot, in eval mode; all but its last block and its readout are frozen.
  creditlib::ResidualMLP load(std::int64_t epoch, const support::Workbench& bench) const {
    auto model = make_model(s_, bench);
    support::load_weights(*model, creditlib::io::read_safetensors(path(epoch)), path(epoch));
    model->to(torch::Device(bench.device()));
    model->eval();
    for (auto& parameter : model->embed_parameters()) parameter.requires_grad_(false);
    for (std::int64_t l = 0; l + 1 < model->blocks(); ++l) {
      for (auto& parameter : model->block_parameters(l)) parameter.requires_grad_(false);
    }
    return model;
  }

 private:
  std::filesystem::path path(std::int64_t epoch) const { return folder_ / fmt::format("epoch_{}.safetensors", epoch); }

  void check_settings(const std::filesystem::path& file) const {
    const auto metadata = creditlib::io::read_safetensors(file).metadata;
    const auto found = metadata.find("config");
    const auto there =
        found == metadata.end() ? Json() : Json::parse(found->second, nullptr, /*allow_exceptions=*/false);
    const auto difference = support::first_difference(there, snapshot_config(s_));
    if (difference.empty()) return;
    throw creditlib::Error(
        fmt::format("{} is a snapshot of other settings ({}): use another --output_dir, or --retrain to replace it.",
                    file.string(), difference));
  }

  const Settings& s_;
  std::filesystem::path folder_;
  std::vector<std::int64_t> missing_;
};

/// The same batches for every snapshot and rule.
struct FixedBatches {
  Batch same, held;
  std::vector<Batch> rollout, across;               ///< the script's
  std::vector<Batch> trial, trial_held, trial_eta;  ///< of the update utility with intervals: none is used twice

  FixedBatches(const Settings& s, const support::Workbench& bench) {
    const auto shuffled = [&](const creditlib::data::Dataset& dataset, bool augment, std::int64_t stream) {
      return Batches(dataset,
                     {.batch_size = s.run.batch_size, .augment = augment, .flatten = true, .seed = s.seed + stream});
    };
    const auto& splits = bench.splits();
    const bool from_test = s.held_out == "test";
    auto training = first(shuffled(splits.train, splits.augment, 1), 2 + batches_across + rollout_steps);
    same = training[0];
    held = from_test ? first(shuffled(splits.test, false, 2), 1)[0] : training[1];
    across.assign(training.begin() + 2, training.begin() + 2 + batches_across);
    rollout.assign(training.begin() + 2 + batches_across, training.end());

    const auto trials = static_cast<std::size_t>(s.trials);
    auto full =
        full_ones(shuffled(splits.train, splits.augment, 3), 1 + (from_test ? trials : 2 * trials), s.run.batch_size);
    auto full_held =
        from_test ? full_ones(shuffled(splits.test, false, 4), trials, s.run.batch_size) : std::vector<Batch>{};
    if (full.empty()) return;
    trial_eta.push_back(full.back());
    full.pop_back();
    if (!from_test) {
      const auto middle = full.begin() + static_cast<std::ptrdiff_t>(full.size() / 2);
      full_held.assign(middle, full.end());
      full.erase(middle, full.end());
    }
    trial = std::move(full);
    trial_held = std::move(full_held);
  }

 private:
  /// n batches, over several epochs where one has fewer.
  static std::vector<Batch> first(Batches batches, std::int64_t n) {
    std::vector<Batch> list;
    while (static_cast<std::int64_t>(list.size()) < n) {
      for (const auto& batch : batches) {
        if (static_cast<std::int64_t>(list.size()) < n) list.push_back(batch);
      }
    }
    return list;
  }
  /// Up to n batches of one epoch, without a short last one.
  static std::vector<Batch> full_ones(Batches batches, std::size_t n, std::int64_t size) {
    std::vector<Batch> list;
    for (const auto& batch : batches) {
      if (list.size() < n && batch.input.size(0) == size) list.push_back(batch);
    }
    return list;
  }
};

Json estimate(const diagnostics::Estimate& e) {
  Json found{{"value", support::value(e)},
             {"interval", e.interval ? Json{e.interval->low, e.interval->high} : Json(nullptr)}};
  if (!e.value) found["reason"] = e.reason;
  return found;
}

std::string text(const Json& value, const char* format) {
  return value.is_number() ? fmt::format(fmt::runtime(format), value.get<double>()) : std::string("null");
}

class Sweep {
 public:
  Sweep(const Settings& s, const Json& earlier) : s_(s), path_(results_path(s)), config_(config(s)) {
    support::keep_listed(config_, earlier, extendable);
    if (earlier.is_object()) results_ = earlier["results"];
  }

  static std::filesystem::path results_path(const Settings& s) {
    return std::filesystem::path(s.output_dir) /
           fmt::format("time_sweep_L{}_d{}_s{}.json", s.num_blocks, s.d_hidden, s.seed);
  }

  void run(const Snapshots& snapshots, const support::Workbench& bench) {
    const FixedBatches fixed(s_, bench);
    auto test = bench.test_batches(/*flat=*/true);
    write(bench);
    for (const auto epoch : s_.snapshot_epochs) {
      if (!s_.run.quiet) fmt::print("\nsnapshot of epoch {}\n", epoch);
      auto model = snapshots.load(epoch, bench);
      bool first = true;
      for (const auto& method : s_.methods) {
        if (finished(epoch, method)) {
          fmt::print("{:>12}: finished before, kept (--retrain makes it anew)\n", method);
          continue;
        }
        const auto trainer = make_trainer(method, epoch, model);
        const double accuracy = support::accuracy(*trainer, test);
        if (std::exchange(first, false) && !s_.run.quiet) {
          fmt::print("accuracy {:.4f}, loss on the same batch {:.4f}, on the held-out one {:.4f}\n", accuracy,
                     diagnostics::mean_loss(model, fixed.same.input, fixed.same.target),
                     diagnostics::mean_loss(model, fixed.held.input, fixed.held.target));
        }
        if (method == "vec_eT_M4") learn(*trainer, epoch, bench);
        add(measured(method, epoch, accuracy, model, *trainer, fixed));
        write(bench);
        if (support::interrupted()) throw support::Interrupted();
      }
    }
    report();
    write(bench);
  }

 private:
  bool finished(std::int64_t epoch, const std::string& method) const {
    return std::any_of(results_.begin(), results_.end(),
                       [&](const Json& r) { return r["snapshot_epoch"] == epoch && r["method"] == method; });
  }

  std::int64_t estimator_seed(std::int64_t epoch) const { return s_.seed + 100 * epoch + 4000; }

  std::unique_ptr<support::AnyTrainer> make_trainer(const std::string& method, std::int64_t epoch,
                                                    const creditlib::ResidualMLP& model) const {
    using namespace creditlib;
    const auto held = std::make_shared<support::HeldModel<ResidualMLP>>(model);
    const auto make = [&](auto credit, std::int64_t seed) {
      return support::any_trainer(LocalTrainer(model, credit, {.seed = seed}, Always{}, Raw{}, InnerProduct{}), held);
    };
    const auto at = s_.credit_point == "input" ? CreditPoint::BlockInput : CreditPoint::BlockOutput;
    if (method == "dfa") return make(DFA{}, s_.seed);
    if (method == "oracle_bp") return make(ScaledOracle{{.at = at}, s_.script_scale}, s_.seed);
    return make(Vec{.directions = vec_directions, .lr = s_.lr_fb, .at = at}, estimator_seed(epoch));
  }

  /// Trains the vector net on the snapshot's features; the network stays.
  void learn(support::AnyTrainer& trainer, std::int64_t epoch, const support::Workbench& bench) const {
    auto batches = bench.train_batches(estimator_seed(epoch), /*flat=*/true);
    support::LiveLine line(s_.run.quiet);
    const auto start = std::chrono::steady_clock::now();
    const auto seconds = [&] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    const std::int64_t steps = batches.batches_per_epoch() * s_.estimator_epochs;
    std::int64_t done = 0;
    for (std::int64_t e = 1; e <= s_.estimator_epochs; ++e) {
      for (const auto& [x, y] : batches) {
        trainer.learn(x, y);
        ++done;
        line.show([&] {
          return fmt::format("vector net: epoch {}/{}, {:.0f} s left", e, s_.estimator_epochs,
                             seconds() / static_cast<double>(done) * static_cast<double>(steps - done));
        });
        if (support::interrupted()) throw support::Interrupted();
      }
      line.clear();
      if (!s_.run.quiet && (e == 1 || e % 20 == 0 || e == s_.estimator_epochs)) {
        fmt::print("   vector net: epoch {}/{}, {:.0f} s\n", e, s_.estimator_epochs, seconds());
        std::fflush(stdout);
      }
    }
  }

  Json measured(const std::string& method, std::int64_t epoch, double accuracy, creditlib::ResidualMLP& model,
                support::AnyTrainer& trainer, const FixedBatches& fixed) const {
    const Update update = [&](const torch::Tensor& x, const torch::Tensor& y) { return trainer.gradients(x, y); };
    const std::vector<std::int64_t> last_block{s_.num_blocks - 1};
    const auto u = diagnostics::snapshot_utility(model, update, fixed.same, fixed.held, fixed.rollout, fixed.across,
                                                 {.etas = s_.etas, .parts = {.blocks = last_block, .readout = true}});
    Json entry{{"snapshot_epoch", epoch},
               {"method", method},
               {"snapshot_acc", accuracy},
               {"best_eta", u.eta ? Json(*u.eta) : Json(nullptr)},
               {"dl_same_1", support::value(u.same_1)},
               {"dl_held_1", support::value(u.held_1)},
               {"pur_1", support::value(u.pur_1)},
               {"dl_same_5", support::value(u.same_k)},
               {"dl_held_5", support::value(u.held_k)},
               {"pur_5", support::value(u.pur_k)},
               {"update_cos", support::value(u.update_cosine)},
               {"update_var", support::value(u.update_variance)}};
    Json undefined = Json::object();
    const auto why = [&](const char* key, const diagnostics::Measured& m) {
      if (!m.value) undefined[key] = m.reason;
    };
    why("dl_same_1", u.same_1), why("dl_held_1", u.held_1), why("pur_1", u.pur_1), why("dl_same_5", u.same_k),
        why("dl_held_5", u.held_k);
    why("pur_5", u.pur_k), why("update_cos", u.update_cosine), why("update_var", u.update_variance);
    entry["undefined"] = undefined;
    entry["credit"] = credit(trainer, fixed.held);
    if (s_.trials > 0) entry["update_utility"] = trials(model, update, last_block, fixed);
    return entry;
  }

  /// Gamma, rho and nudge of the credit of blocks 0..L-1 on the held-out batch, against the gradient at the credit
  /// point.
  Json credit(support::AnyTrainer& trainer, const Batch& batch) const {
    using diagnostics::Measured;
    const bool at_input = s_.credit_point == "input";
    const auto& [x, y] = batch;
    auto credits = trainer.raw_credits(x, y);
    if (at_input) {
      credits.erase(credits.begin());
      credits.emplace_back();
    } else {
      credits[0].reset();
    }
    auto gamma = diagnostics::alignment(credits, trainer.model().true_gradients(x, y));
    std::vector<Measured> rho, nudge;
    for (const auto& found : trainer.model().perturbation_correlation(x, y, credits, {})) rho.push_back(found.rho);
    double eta = 0;
    for (const auto& found : trainer.model().nudging(x, y, credits)) {
      eta = found.back().eta;
      nudge.push_back(found.back().change);
    }
    for (auto* all : {&gamma, &rho, &nudge}) at_input ? all->pop_back() : static_cast<void>(all->erase(all->begin()));
    return {{"point", s_.credit_point},
            {"gamma", support::values(gamma)},
            {"rho", support::values(rho)},
            {"nudge", support::values(nudge)},
            {"nudge_eta", eta},
            {"undefined", support::reasons({{"gamma", gamma}, {"rho", rho}, {"nudge", nudge}})}};
  }

  Json trials(creditlib::ResidualMLP& model, const Update& update, const std::vector<std::int64_t>& last_block,
              const FixedBatches& fixed) const {
    if (fixed.trial_eta.empty()) return {{"trials", 0}, {"reason", "the training set has no full batch"}};
    const auto u = diagnostics::update_utility(model, update, fixed.trial, fixed.trial_held, fixed.trial_eta,
                                               {.etas = s_.trial_etas, .parts = {.blocks = last_block}});
    return {{"trials", u.trials},
            {"steps", 1},
            {"eta", u.eta ? Json(*u.eta) : Json(nullptr)},
            {"eta_is_at_an_end", u.eta_is_at_an_end},
            {"dl_same", estimate(u.same)},
            {"dl_held", estimate(u.held)},
            {"pur", estimate(u.pur)},
            {"update_cos", support::value(u.update_cosine)},
            {"update_relative_var", support::value(u.update_variance)}};
  }

  void add(const Json& r) {
    if (!s_.run.quiet) announce(r);
    results_.push_back(r);
    const auto place = [](const Json& entry) {
      const auto at = std::find(method_names.begin(), method_names.end(), entry["method"].get<std::string>());
      return std::pair(entry["snapshot_epoch"].get<std::int64_t>(), at - method_names.begin());
    };
    std::stable_sort(results_.begin(), results_.end(),
                     [&](const Json& a, const Json& b) { return place(a) < place(b); });
  }

  static void announce(const Json& r) {
    fmt::print(
        "{:>12}: eta={}, dL_same_1={}, dL_held_1={}, PUR_1={}, dL_same_5={}, dL_held_5={}, PUR_5={}, u_cos={}, "
        "u_var={}\n",
        r["method"].get<std::string>(), text(r["best_eta"], "{:.0e}"), text(r["dl_same_1"], "{:+.6f}"),
        text(r["dl_held_1"], "{:+.6f}"), text(r["pur_1"], "{:.3f}"), text(r["dl_same_5"], "{:+.6f}"),
        text(r["dl_held_5"], "{:+.6f}"), text(r["pur_5"], "{:.3f}"), text(r["update_cos"], "{:.3f}"),
        text(r["update_var"], "{:.2e}"));
    std::fflush(stdout);
  }

  /// The sentences of the script, of the vector net's loss change on the held-out batch after one step.
  std::vector<std::string> judgement() const {
    int early = 0, late = 0;
    for (const auto& r : results_) {
      if (r["method"] != "vec_eT_M4" || !r["dl_held_1"].is_number() || !(r["dl_held_1"].get<double>() > 0)) continue;
      if (r["snapshot_epoch"] <= 20) ++early;
      if (r["snapshot_epoch"] >= 50) ++late;
    }
    if (early == 0 && late > 0) {
      return {"LATE-SNAPSHOT ARTIFACT: held-out failure only at late snapshots.",
              "Early-training local updates with good credit DO generalize."};
    }
    if (early > 0 && late > 0) {
      return {"ACROSS-TRAINING FAILURE: held-out degradation at both early and late snapshots.",
              "Problem is NOT just late-snapshot overfitting."};
    }
    return {"NEED MORE DATA: check results table above."};
  }

  void report() {
    support::Table table({"epoch", "acc", "method", "eta", "dL_same_1", "dL_held_1", "PUR_1", "dL_same_5", "dL_held_5",
                          "PUR_5", "u_cos", "u_var"});
    support::Table ours({"epoch", "method", "gamma", "rho", "eta", "dL_same", "dL_held", "PUR", "its interval"});
    for (const auto& r : results_) {
      table.add({r["snapshot_epoch"].dump(), text(r["snapshot_acc"], "{:.3f}"), r["method"].get<std::string>(),
                 text(r["best_eta"], "{:.0e}"), text(r["dl_same_1"], "{:+.6f}"), text(r["dl_held_1"], "{:+.6f}"),
                 text(r["pur_1"], "{:.3f}"), text(r["dl_same_5"], "{:+.6f}"), text(r["dl_held_5"], "{:+.6f}"),
                 text(r["pur_5"], "{:.3f}"), text(r["update_cos"], "{:.3f}"), text(r["update_var"], "{:.2e}")});
      std::vector<std::string> row{r["snapshot_epoch"].dump(), r["method"].get<std::string>(),
                                   text(r["credit"]["gamma"].back(), "{:.3f}"),
                                   text(r["credit"]["rho"].back(), "{:.3f}")};
      const auto utility = r.value("update_utility", Json::object());
      if (utility.contains("pur")) {
        const auto &pur = utility["pur"], &interval = pur["interval"];
        row.insert(row.end(), {text(utility["eta"], "{:.0e}"), text(utility["dl_same"]["value"], "{:+.6f}"),
                               text(utility["dl_held"]["value"], "{:+.6f}"), text(pur["value"], "{:.3f}"),
                               interval.is_array() ? fmt::format("{:.3f} to {:.3f}", interval[0].get<double>(),
                                                                 interval[1].get<double>())
                                                   : pur.value("reason", std::string())});
      }
      row.resize(9, "-");
      ours.add(row);
    }
    fmt::print("\n{}\nlast block alone, readout fixed, eta from another batch; gamma and rho of its credit:\n{}\n",
               table.text(), ours.text());
    judged_ = judgement();
    for (const auto& sentence : judged_) fmt::print("{}\n", sentence);
    fmt::print("results: {}\n", path_.string());
  }

  void write(const support::Workbench& bench) const {
    Json file{{"results", results_}};
    if (!judged_.empty()) file["judgement"] = judged_;
    file["config"] = config_;
    file["environment"] = support::environment(bench.device());
    creditlib::io::write_json(path_, file);
  }

  const Settings& s_;
  std::filesystem::path path_;
  Json config_, results_ = Json::array();
  std::vector<std::string> judged_;
};

void run(const Settings& s) {
  const auto distinct = [](const auto& list, const char* flag) {
    if (std::set(list.begin(), list.end()).size() != list.size())
      throw support::UsageError(std::string(flag) + " names one twice");
  };
  distinct(s.snapshot_epochs, "--snapshot_epochs");
  distinct(s.methods, "--methods");
  creditlib::io::check_writable_folder(s.output_dir);
  const auto earlier =
      s.retrain ? Json(nullptr) : support::earlier_results(Sweep::results_path(s), config(s), extendable);
  const Snapshots snapshots(s);
  const support::Workbench bench(s.run);
  snapshots.make(bench);
  Sweep(s, earlier).run(snapshots, bench);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "At snapshots of a back-propagation run, measures whether each rule's update lowers the loss on its own batch "
      "and on another.",
      "snapshot_time_sweep");
  Settings settings;
  add_flags(app, settings);
  return support::run_program(app, argc, argv, [&] { run(settings); });
}
