// SPDX-License-Identifier: Apache-2.0
#include "audit/checks.hpp"

#include <algorithm>
#include <creditlib/audit/gradient_stability.hpp>
#include <creditlib/audit/reference_validity.hpp>
#include <creditlib/audit/scale_growth.hpp>
#include <creditlib/diagnostics/feedback_null.hpp>
#include <creditlib/diagnostics/norms.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <string>

#include "support/figures.hpp"

namespace audit {

namespace diagnostics = creditlib::diagnostics;
namespace protocol = creditlib::protocol;
using creditlib::data::Batch;
using Json = nlohmann::ordered_json;

Looks looks_of(const support::Workbench& bench, bool flat) {
  Looks looks{bench.first_test_samples(128, flat), {}};
  const auto& test = bench.splits().test;
  const std::int64_t size = std::min<std::int64_t>(128, std::max<std::int64_t>(1, test.size() / 8));
  creditlib::data::Batches batches(test, {.batch_size = size, .shuffle = false, .flatten = flat, .drop_last = true});
  for (const auto& batch : batches) {
    looks.disjoint.push_back(batch);
    if (looks.disjoint.size() == 16) break;
  }
  return looks;
}

std::vector<diagnostics::Measured> hidden_norms(support::Trainer& trainer, const Looks& looks) {
  const diagnostics::EvalMode eval(trainer.module());
  return diagnostics::median_norms(trainer.model().hidden_states(looks.batch.input));
}

std::vector<creditlib::audit::Check> checks_of(support::Trainer& trainer, const Looks& looks,
                                               const std::vector<diagnostics::Measured>& norms_at_init) {
  auto& model = trainer.model();
  const diagnostics::EvalMode eval(trainer.module());
  const auto& [x, y] = looks.batch;
  const auto hidden = model.hidden_states(x);
  const auto norms = diagnostics::median_norms(hidden);
  const auto gradients = model.true_gradients(x, y);
  std::vector<creditlib::audit::Check> checks{creditlib::audit::scale_growth(norms)};
  checks.push_back(creditlib::audit::scale_growth_since_init(norms, norms_at_init));
  checks.push_back(creditlib::audit::reference_validity(gradients.back()));
  checks.push_back(creditlib::audit::reference_sensitivity(hidden.back(), gradients.back()));
  checks.push_back(creditlib::audit::reference_agreement(model.precision_agreement(x, y)));
  checks.push_back(creditlib::audit::gradient_stability(model.stability(looks.disjoint)));
  return checks;
}

Json fresh_feedback(support::Trainer& trainer, const Batch& batch, std::int64_t draws) {
  const diagnostics::EvalMode eval(trainer.module());
  const auto gradients = trainer.model().true_gradients(batch.input, batch.target);
  const auto nulls =
      diagnostics::feedback_null_alignment(trainer.raw_credits(batch.input, batch.target), gradients,
                                           [&](std::uint64_t seed) {
                                             auto fresh = trainer.with_seed(static_cast<std::int64_t>(seed));
                                             while (fresh.epoch() < trainer.epoch())
                                               fresh.end_epoch();  // its schedule stands where the trainer's does
                                             return fresh.raw_credits(batch.input, batch.target);
                                           },
                                           {.draws = draws});
  Json json = Json::array();
  for (std::size_t l = 1; l < nulls.size(); ++l) {
    json.push_back({{"hidden_state", l},
                    {"gamma", support::value(nulls[l].own)},
                    {"fresh_mean", support::value(nulls[l].mean)},
                    {"fresh_deviation", support::value(nulls[l].deviation)},
                    {"score", support::value(nulls[l].score)},
                    {"p", support::value(nulls[l].p)},
                    {"fresh", nulls[l].draws}});
  }
  return json;
}

Json json_of(const diagnostics::Estimate& estimate) {
  Json json{{"value", support::value(estimate)}};
  if (estimate.interval) json["interval"] = {estimate.interval->low, estimate.interval->high};
  if (!estimate.value) json["reason"] = estimate.reason;
  return json;
}

Json json_of(const creditlib::audit::Check& check) {
  Json json{{"name", check.name},
            {"meaning", check.meaning},
            {"value", support::value(check.value)},
            {"fires", check.fires == creditlib::audit::Fires::Above ? "above" : "below"},
            {"threshold", check.threshold},
            {"fired", check.fired ? Json(*check.fired) : Json(nullptr)}};
  if (check.interval) json["interval"] = {check.interval->low, check.interval->high};
  if (!check.value.value) json["reason"] = check.value.reason;
  return json;
}

creditlib::audit::Check check_of(const Json& json) {
  const bool above = json.at("fires").get<std::string>() == "above";
  creditlib::audit::Check check{.name = json.at("name").get<std::string>(),
                                .meaning = json.at("meaning").get<std::string>(),
                                .threshold = json.at("threshold").get<double>(),
                                .fires = above ? creditlib::audit::Fires::Above : creditlib::audit::Fires::Below};
  if (json.at("value").is_number()) check.value.value = json.at("value").get<double>();
  if (json.contains("reason")) check.value.reason = json.at("reason").get<std::string>();
  if (json.at("fired").is_boolean()) check.fired = json.at("fired").get<bool>();
  if (json.contains("interval")) {
    const auto& interval = json.at("interval");
    check.interval = diagnostics::Interval{interval.at(0).get<double>(), interval.at(1).get<double>()};
  }
  return check;
}

}  // namespace audit
