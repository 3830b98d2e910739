// SPDX-License-Identifier: Apache-2.0
#include "snapshot_time_sweep/update_trials.hpp"

#include <fmt/format.h>

#include <chrono>
#include <creditlib/bind_context.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/update_utility.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <cstdio>
#include <functional>
#include <vector>

#include "support/figures.hpp"
#include "support/live_line.hpp"
#include "support/program.hpp"
#include "support/threads.hpp"

namespace sweep {
namespace {

namespace diagnostics = creditlib::diagnostics;
using creditlib::data::Batch;
using Json = nlohmann::ordered_json;
using Update = std::function<support::Tensors(const torch::Tensor&, const torch::Tensor&)>;

std::int64_t estimator_seed(const Settings& s, std::int64_t epoch) { return s.seed + 100 * epoch + 4000; }

/// The oracle, or the script's, whose credit is the gradient of the mean loss over the batch of all processes.
struct ScaledOracle {
  creditlib::Oracle oracle;
  bool of_mean_loss;

  struct State {
    static constexpr bool wants_pullback = true;
    creditlib::Oracle oracle;
    bool of_mean_loss;
    creditlib::BindContext context;

    template <class Model>
    support::Tensors credit(Model& model, const creditlib::Trace& trace) const {
      auto credits = oracle.credit(model, trace);
      if (!of_mean_loss) return credits;
      const auto samples = context.sample_range(trace.error.size(0)).all;
      for (auto& a : credits) {
        if (a.defined()) a = a / static_cast<double>(samples);
      }
      return credits;
    }
  };

  template <class Model>
  State bind(Model&, const creditlib::BindContext& context) const {
    return {oracle, of_mean_loss, context};
  }
};

Json estimate(const diagnostics::Estimate& e) {
  Json found{{"value", support::value(e)},
             {"interval", e.interval ? Json{e.interval->low, e.interval->high} : Json(nullptr)}};
  if (!e.value) found["reason"] = e.reason;
  return found;
}

/// Gamma, rho and nudge of the credit of blocks 0..L-1 on the held-out batch, against the gradient at the credit
/// point.
Json credit_figures(const Settings& s, support::Trainer& trainer, const Batch& batch) {
  using diagnostics::Measured;
  const bool at_input = s.credit_point == "input";
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
  return {{"point", s.credit_point},
          {"gamma", support::values(gamma)},
          {"rho", support::values(rho)},
          {"nudge", support::values(nudge)},
          {"nudge_eta", eta},
          {"undefined", support::reasons({{"gamma", gamma}, {"rho", rho}, {"nudge", nudge}})}};
}

Json utility_of_last_block(const Settings& s, creditlib::ResidualMLP& model, const Update& update,
                           const std::vector<std::int64_t>& last_block, const FixedBatches& fixed) {
  if (fixed.trial_eta.empty()) return {{"trials", 0}, {"reason", "the training set has no full batch"}};
  const auto u = diagnostics::update_utility(model, update, fixed.trial, fixed.trial_held, fixed.trial_eta,
                                             {.etas = s.trial_etas, .parts = {.blocks = last_block}});
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

}  // namespace

support::Trainer make_trainer(const Settings& s, const std::string& method, std::int64_t epoch,
                              const creditlib::ResidualMLP& model) {
  using namespace creditlib;
  const auto make = [&](auto credit, std::int64_t seed) {
    return support::Trainer(
        LocalTrainer(model, credit, {.seed = seed, .group = support::group()}, Always{}, Raw{}, InnerProduct{}));
  };
  const auto at = s.credit_point == "input" ? CreditPoint::BlockInput : CreditPoint::BlockOutput;
  if (method == "dfa") return make(DFA{}, s.seed);
  if (method == "oracle_bp") return make(ScaledOracle{{.at = at}, s.script_scale}, s.seed);
  return make(Vec{.directions = vec_directions, .lr = s.lr_fb, .at = at}, estimator_seed(s, epoch));
}

void learn(const Settings& s, support::Trainer& trainer, std::int64_t epoch, const support::Workbench& bench) {
  auto batches = bench.train_batches(estimator_seed(s, epoch), /*flat=*/true);
  support::LiveLine line(s.run.quiet);
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  const std::int64_t steps = batches.batches_per_epoch() * s.estimator_epochs;
  const auto like = bench.first_test_samples(bench.batch_size(), /*flat=*/true);
  support::settle_threads(
      trainer, [&] { trainer.learn(like.input, like.target); }, steps, /*earlier=*/0, "vector net", s.run.quiet);
  const support::Pace pace(steps, 0);
  std::int64_t done = 0;
  for (std::int64_t e = 1; e <= s.estimator_epochs; ++e) {
    for (const auto& [x, y] : batches) {
      trainer.learn(x, y);
      ++done;
      line.show("vector net", [&] {
        return std::vector<std::string>{fmt::format("epoch {}/{}", e, s.estimator_epochs), pace.left(done),
                                        pace.rate(done)};
      });
      if (support::interrupted()) throw support::Interrupted();
    }
    line.clear();
    if (!s.run.quiet && (e == 1 || e % 20 == 0 || e == s.estimator_epochs)) {
      fmt::print("   vector net: epoch {}/{}, {:.0f} s\n", e, s.estimator_epochs, seconds());
      std::fflush(stdout);
    }
  }
}

Json measured(const Settings& s, const std::string& method, std::int64_t epoch, double accuracy,
              creditlib::ResidualMLP& model, support::Trainer& trainer, const FixedBatches& fixed) {
  const Update update = [&](const torch::Tensor& x, const torch::Tensor& y) {
    return trainer.gradients(support::own_rows(x), support::own_rows(y));
  };
  const std::vector<std::int64_t> last_block{s.num_blocks - 1};
  const auto u = diagnostics::snapshot_utility(model, update, fixed.same, fixed.held, fixed.rollout, fixed.across,
                                               {.etas = s.etas, .parts = {.blocks = last_block, .readout = true}});
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
  entry["credit"] = credit_figures(s, trainer, fixed.held);
  if (s.trials > 0) entry["update_utility"] = utility_of_last_block(s, model, update, last_block, fixed);
  return entry;
}

}  // namespace sweep
