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

#include "support/epoch_records.hpp"
#include "support/figures.hpp"
#include "support/live_line.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/table.hpp"
#include "support/threads.hpp"
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
        continue;
      }
      run_method(name);
      write();
    }
    report();
  }

 private:
  void run_method(const std::string& name) {
    const double lr = s_.lr_fb;
    creditlib::StatePredictor predictor;
    creditlib::ValueNet value{.terminal_gradient_weight = s_.term_grad_weight};
    creditlib::Vec vec{.directions = s_.M};
    if (lr > 0) predictor.lr = value.lr = vec.lr = lr;
    if (name == "ridge") return ridge();
    if (name == "dfa") return train(name, creditlib::DFA{}, 0);
    if (name == "state_predictor") return train(name, predictor, s_.steps);
    if (name == "value_net") return train(name, value, s_.steps);
    if (name == "vec") return train(name, vec, s_.steps);
    if (name == "state_predictor_y") return train(name, SeesTarget<creditlib::StatePredictor>{predictor}, s_.steps);
    if (name == "value_net_y") return train(name, SeesTarget<creditlib::ValueNet>{value}, s_.steps);
    return train(name, SeesTarget<creditlib::Vec>{vec}, s_.steps);
  }

  template <class Source>
  void train(const std::string& name, const Source& source, std::int64_t steps) {
    using Clock = std::chrono::steady_clock;
    creditlib::LocalTrainer trainer(problem_.model(), source, {.epochs = 1, .seed = s_.seed}, creditlib::Always{},
                                    creditlib::Raw{}, creditlib::InnerProduct{}, creditlib::SquaredError{});
    const auto credits = [&] {
      const auto& held_out = problem_.held_out();
      return trainer.raw_credits(held_out.input, held_out.target);
    };
    toy_lq::Samples fresh(s_, toy_lq::training_stream);
    Json curve = Json::array();
    if (steps > 0) {
      const auto like = toy_lq::Samples(s_, toy_lq::training_stream).next(s_.batch);
      support::settle_threads(trainer, [&] { trainer.learn(like.input, like.target); }, steps, name, s_.quiet);
    }
    const auto start = Clock::now();
    const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
    const std::int64_t every = std::max<std::int64_t>(1, steps / 20);
    support::LiveLine line(s_.quiet);
    support::EpochRecords records(s_.tensorboard, name, 0);
    const support::Pace pace(steps, 0);
    for (std::int64_t step = 0; step < steps; ++step) {
      if (step % every == 0) {
        const Json cosine = support::mean_of(problem_.cosines(credits()));
        curve.push_back({step, cosine});
        line.clear();
        say(name, step, steps, cosine, pace, records);
      }
      const auto [x, y] = fresh.next(s_.batch);
      trainer.learn(x, y);
      line.show(name, [&] {
        return std::vector<std::string>{fmt::format("step {}/{}", step + 1, steps), pace.left(step + 1),
                                        pace.rate(step + 1)};
      });
      if (support::interrupted())
        throw support::Interrupted("finished rules are kept, and the same command trains the others");
    }
    line.clear();
    const double spent = seconds();
    results_[name] = problem_.measured(credits());
    curve.push_back({steps, results_[name]["costate_cosine"]});
    results_[name]["steps"] = steps;
    results_[name]["curve"] = curve;
    results_[name]["seconds"] = spent;
    announce(name);
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
    announce("ridge");
  }

  void announce(const std::string& name) const {
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
    support::Table table({"rule", "costate cosine", "rho", fmt::format("nudge {:g}", s_.eta), "of exact",
                          "cosine at h_1", "at the middle", "at h_L"});
    for (const auto& name : s_.methods) {
      const auto& r = results_[name];
      const auto& layers = r["costate_cosine_per_layer"];
      const Json share = r["nudge"].is_number() && r["nudge_backprop"].is_number()
                             ? Json(r["nudge"].get<double>() / r["nudge_backprop"].get<double>())
                             : Json();
      table.add({name, text(r["costate_cosine"], 4), text(r["rho"], 4), text(r["nudge"], 5), text(share, 3),
                 text(layers[0], 3), text(layers[layers.size() / 2], 3), text(layers[layers.size() - 1], 3)});
    }
    fmt::print("\n{}\n", table.text());
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
