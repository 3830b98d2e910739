// SPDX-License-Identifier: Apache-2.0
// Trains learned credit sources on noisy linear dynamics whose exact credit, the costate, is known in closed form
// (docs/experiments/toy_lq.md).

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/credit/value_net.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>

#include "support/checkpoint.hpp"
#include "support/epoch_records.hpp"
#include "support/figures.hpp"
#include "support/live_line.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/table.hpp"
#include "support/threads.hpp"
#include "support/trainer.hpp"
#include "support/training.hpp"
#include "toy_lq/problem.hpp"
#include "toy_lq/samples.hpp"
#include "toy_lq/sees_target.hpp"
#include "toy_lq/settings.hpp"

namespace {

using toy_lq::SeesTarget;
using toy_lq::Settings;
using Json = nlohmann::ordered_json;

std::string text(const Json& value, int digits) {
  return value.is_number() ? fmt::format("{:.{}f}", value.get<double>(), digits) : std::string("null");
}

class Experiment {
 public:
  /// Throws Error where there are results of other settings.
  explicit Experiment(const Settings& s)
      : s_(s),
        file_(std::filesystem::path(s.output_dir) / fmt::format("toy_lq_L{}_d{}_s{}.json", s.L, s.d, s.seed)),
        config_(toy_lq::config(s)),
        earlier_(support::earlier_results(file_, config_, s.resume())),
        problem_(s) {
    if (earlier_.contains("results")) results_ = earlier_["results"];
  }

  void run() {
    for (const auto& name : s_.methods) {
      if (results_.contains(name)) {
        support::say_kept(name);
      } else if (name == "ridge") {
        ridge();
      } else {
        train(name);
      }
    }
    report();
  }

 private:
  support::Trainer make_trainer(const std::string& name) {
    creditlib::StatePredictor predictor;
    creditlib::ValueNet value{.terminal_gradient_weight = s_.term_grad_weight};
    creditlib::Vec vec{.directions = s_.M};
    if (s_.lr_fb > 0) predictor.lr = value.lr = vec.lr = s_.lr_fb;
    if (name == "dfa") return trainer_of(creditlib::DFA{});
    if (name == "state_predictor") return trainer_of(predictor);
    if (name == "value_net") return trainer_of(value);
    if (name == "vec") return trainer_of(vec);
    if (name == "state_predictor_y") return trainer_of(SeesTarget<creditlib::StatePredictor>{predictor});
    if (name == "value_net_y") return trainer_of(SeesTarget<creditlib::ValueNet>{value});
    return trainer_of(SeesTarget<creditlib::Vec>{vec});
  }

  template <class Source>
  support::Trainer trainer_of(const Source& source) {
    const creditlib::SquaredError objective;
    return support::Trainer(
        creditlib::LocalTrainer(problem_.model(), source, {.epochs = 1, .seed = s_.seed, .group = support::group()},
                                creditlib::Always{}, creditlib::Raw{}, creditlib::InnerProduct{}, objective),
        {}, objective);
  }

  /// A learned source from its start, or from where an earlier run left it.
  void train(const std::string& name) {
    using Clock = std::chrono::steady_clock;
    const std::int64_t steps = name == "dfa" ? 0 : s_.steps;
    const std::int64_t every = std::max<std::int64_t>(1, steps / 20);  // an epoch, for checkpoints
    auto trainer = make_trainer(name);
    const auto credits = [&] {
      const auto& held_out = problem_.held_out();
      return trainer.raw_credits(held_out.input, held_out.target);
    };
    const auto learn = [&](const creditlib::data::Batch& batch) {
      trainer.module().train();
      trainer.learn(support::own_rows(batch.input), support::own_rows(batch.target));
      trainer.module().eval();
    };
    toy_lq::Samples fresh(s_, toy_lq::training_stream);
    support::Checkpoint checkpoint(
        {.path = file_.path().parent_path() / fmt::format("checkpoint_L{}_d{}_{}_s{}.pt", s_.L, s_.d, name, s_.seed),
         .settings = support::fixed_settings(config_, s_.resume()),
         .retrain = s_.retrain,
         .flags = s_.checkpoints});
    Json log{{"curve", Json::array()}, {"seconds", 0.0}, {"threads", 0}};
    std::int64_t done = 0;
    if (const auto left = checkpoint.load(trainer)) {
      log = left->progress;
      done = left->at->step;
      for (const auto& [key, state] : left->generators) fresh.load(state);
      if (!s_.quiet) fmt::print("{}: goes on after step {} of {}\n", name, done, steps);
    }
    if (steps > 0) {
      const auto like = toy_lq::Samples(s_, toy_lq::training_stream).next(s_.batch);
      log["threads"] = support::settle_threads(
          trainer, [&] { learn(like); }, steps - done, log["threads"].get<std::int64_t>(), name, s_.quiet);
    }
    const auto start = Clock::now();
    const auto seconds = [start, before = log["seconds"].get<double>()] {
      return before + std::chrono::duration<double>(Clock::now() - start).count();
    };
    const auto state_after = [&](std::int64_t step) -> support::Checkpoint::State {
      log["seconds"] = seconds();
      return {.progress = log,
              .generators = {{"samples", fresh.state()}},
              .at = support::Checkpoint::Position{.epoch = step / every, .step = step}};
    };
    support::LiveLine line(s_.quiet);
    support::EpochRecords records(s_.tensorboard, name, done - 1);
    const support::Pace pace(steps, done);
    for (std::int64_t step = done; step < steps; ++step) {
      if (step % every == 0) {
        if (step > done) checkpoint.save(trainer, state_after(step));
        const Json cosine = support::mean_of(problem_.cosines(credits()));
        log["curve"].push_back({step, cosine});
        line.clear();
        say(name, step, steps, cosine, pace, records);
      }
      learn(fresh.next(s_.batch));
      line.show(name, [&] {
        return std::vector<std::string>{fmt::format("step {}/{}", step + 1, steps), pace.left(step + 1),
                                        pace.rate(step + 1)};
      });
      if (support::interrupted()) checkpoint.stop(trainer, state_after(step + 1));
    }
    line.clear();
    const double spent = seconds();
    auto& result = results_[name] = problem_.measured(credits());
    log["curve"].push_back({steps, result["costate_cosine"]});
    result["steps"] = steps;
    result["curve"] = log["curve"];
    result["seconds"] = spent;
    finish(name);
    checkpoint.remove();
  }

  void say(const std::string& name, std::int64_t step, std::int64_t steps, const Json& cosine,
           const support::Pace& pace, support::EpochRecords& records) const {
    const double value = cosine.is_number() ? cosine.get<double>() : std::nan("");
    const std::vector<support::EpochScalar> scalars{{"costate_cosine", "costate_cosine", value}};
    records.add(step, step, scalars, nullptr);
    if (s_.quiet) return;
    Json entry{{"step", step}, {"of", steps}};
    entry.update(support::json_of(scalars));
    std::vector<std::string> fields{fmt::format("step {}/{}", step, steps),
                                    fmt::format("costate cosine {}", text(cosine, 4))};
    if (step > 0) fields.push_back(pace.left(step));
    support::say_epoch(name, entry, fields);
  }

  void ridge() {
    const auto samples = toy_lq::Samples(s_, toy_lq::ridge_stream).next(s_.ridge_samples);
    results_["ridge"] = problem_.measured(problem_.ridge_credits(samples));
    finish("ridge");
  }

  /// Writes the results and says this rule's.
  void finish(const std::string& name) const {
    write();
    if (s_.quiet) return;
    const auto& r = results_[name];
    fmt::print("{}: costate cosine {}, rho {}, nudge {}\n", name, text(r["costate_cosine"], 4), text(r["rho"], 4),
               text(r["nudge"], 5));
    std::fflush(stdout);
  }

  void write() const {
    const auto median_norm = [](const torch::Tensor& t) { return t.norm(2, 1).median().item<double>(); };
    const auto& costates = problem_.costates();
    file_.write({{"results", results_},
                 {"costate_distance_to_autograd", problem_.distance_to_autograd()},
                 {"layer_norm_ceiling", problem_.layer_norm_ceiling()},
                 {"costate_norm_first_last", {median_norm(costates[1]), median_norm(costates.back())}},
                 {"config", config_},
                 {"environment", support::environment("cpu")}});
  }

  void report() const {
    const auto middle = static_cast<std::size_t>(s_.L / 2);
    support::Table table(
        {"rule", "cosine", "rho", "nudge", "share", "h_1", fmt::format("h_{}", middle + 1), fmt::format("h_{}", s_.L)});
    for (const auto& name : s_.methods) {
      const auto& r = results_[name];
      const auto& layers = r["costate_cosine_per_layer"];
      const Json share = r["nudge"].is_number() && r["nudge_backprop"].is_number()
                             ? Json(r["nudge"].get<double>() / r["nudge_backprop"].get<double>())
                             : Json();
      table.add({name, text(r["costate_cosine"], 4), text(r["rho"], 4), text(r["nudge"], 5), text(share, 3),
                 text(layers[0], 3), text(layers[middle], 3), text(layers[layers.size() - 1], 3)});
    }
    fmt::print("\n{}\n", table.text());
    fmt::print("cosine: with the costate, mean over h_1..h_{} and at three of them\n", s_.L);
    fmt::print("nudge: by {:g}; share: of what the exact gradient gets\n", s_.eta);
    fmt::print("costate cosine of the best gradient of any function of LayerNorm(h): {}\n",
               text(problem_.layer_norm_ceiling(), 4));
    fmt::print("costate: closed form and autograd differ by {:.1e} of its norm\nresults: {}\n",
               problem_.distance_to_autograd(), file_.path().string());
  }

  const Settings& s_;
  support::ResultsFile file_;
  Json config_, earlier_, results_ = Json::object();
  toy_lq::Problem problem_;
};

void run(Settings s) {
  support::check_distinct("--methods", s.methods);
  support::set_threads(s.threads);
  Experiment(s).run();
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_with_flags<Settings>(
      "Measures credit rules on noisy linear dynamics whose exact credit is known in closed form.", "toy_lq", argc,
      argv, toy_lq::declare, run);
}
