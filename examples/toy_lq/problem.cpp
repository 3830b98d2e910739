// SPDX-License-Identifier: Apache-2.0
#include "toy_lq/problem.hpp"

#include <ATen/Context.h>

#include <algorithm>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/nudging.hpp>
#include <creditlib/diagnostics/perturbation_correlation.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <utility>

#include "support/figures.hpp"
#include "support/processes.hpp"
#include "toy_lq/samples.hpp"

namespace toy_lq {

namespace diagnostics = creditlib::diagnostics;
using creditlib::data::Batch;
using diagnostics::Measured;
using Json = nlohmann::ordered_json;

Problem::Problem(const Settings& s)
    : s_(s),
      model_({.width = s.d,
              .blocks = s.L,
              .outputs = s.outputs,
              .noise = s.noise,
              .orthogonal = s.dynamics == "orthogonal",
              .seed = s.seed,
              .group = support::group(),
              .batch = s.batch}) {
  model_->eval();  // batches of learn() alone are shared out among processes
  held_out_ = Samples(s, evaluation_stream).next(s.eval_samples);
  noise_ = at::globalContext().defaultGenerator(torch::kCPU).get_state();
  exact_ = diagnostics::errors_and_gradients(model_, std::vector<Batch>{held_out_}, creditlib::SquaredError{});
  costates_ = model_->costates(exact_.errors);
  for (std::size_t l = 0; l < costates_.size(); ++l) {
    const double distance = ((exact_.gradients[l] - costates_[l]).norm() / costates_[l].norm()).item<double>();
    distance_ = std::max(distance_, distance);
  }
  layer_norm_ceiling_ =
      support::mean_of(cosines(through_layer_norm(diagnostics::hidden_states(model_, held_out_.input))));
}

const Batch& Problem::held_out() const {
  auto generator = at::globalContext().defaultGenerator(torch::kCPU);
  generator.set_state(noise_);
  return held_out_;
}

/// The costates without what no gradient through a LayerNorm of h has: their parts along h (less its mean) and along
/// (1, …, 1).
Tensors Problem::through_layer_norm(const Tensors& hidden) const {
  Tensors kept;
  for (std::size_t l = 0; l < hidden.size(); ++l) {
    const auto h = hidden[l].to(torch::kFloat64);
    const auto along = diagnostics::unit_rows(h - h.mean(1, /*keepdim=*/true));
    const auto centred = costates_[l] - costates_[l].mean(1, /*keepdim=*/true);
    kept.push_back(centred - (centred * along).sum(1, /*keepdim=*/true) * along);
  }
  return kept;
}

std::vector<Measured> Problem::cosines(const Tensors& credits) const {
  std::vector<Measured> cosines;
  for (std::size_t l = 1; l < credits.size(); ++l) cosines.push_back(diagnostics::alignment(credits[l], costates_[l]));
  return cosines;
}

Json Problem::measured(const Tensors& credits) {
  const auto& [x, y] = held_out();
  const creditlib::SquaredError objective;
  const auto correlations = diagnostics::perturbation_correlation(model_, x, y, credits, {}, objective);
  const auto nudges = diagnostics::nudging(model_, x, y, credits, {.etas = {s_.eta}}, objective);
  std::vector<Measured> rho, nudge, backprop;
  Json rho_intervals = Json::array();
  for (std::size_t l = 1; l < credits.size(); ++l) {
    const auto& found = correlations[l].rho;
    rho.push_back(found);
    rho_intervals.push_back(found.interval ? Json{found.interval->low, found.interval->high} : Json(nullptr));
    nudge.push_back(nudges[l].at(0).change);
    backprop.push_back(nudges[l].at(0).backprop);
  }
  const auto cosine = cosines(credits);
  return {
      {"costate_cosine", support::mean_of(cosine)},
      {"rho", support::mean_of(rho)},
      {"nudge", support::mean_of(nudge)},
      {"nudge_backprop", support::mean_of(backprop)},
      {"costate_cosine_per_layer", support::values(cosine)},
      {"rho_per_layer", support::values(rho)},
      {"rho_interval_per_layer", rho_intervals},
      {"nudge_per_layer", support::values(nudge)},
      {"nudge_backprop_per_layer", support::values(backprop)},
      {"undefined",
       support::reasons({{"costate_cosine_per_layer", cosine}, {"rho_per_layer", rho}, {"nudge_per_layer", nudge}})}};
}

Tensors Problem::ridge_credits(const Batch& others) {
  const auto fits = diagnostics::ridge_control(
      diagnostics::errors_and_gradients(model_, std::vector<Batch>{others}, creditlib::SquaredError{}), exact_);
  Tensors credits(1);
  for (std::size_t l = 1; l < fits.size(); ++l) {
    credits.push_back(fits[l].weights.defined() ? fits[l].credit(exact_.errors, exact_.gradients[l]) : torch::Tensor());
  }
  return credits;
}

}  // namespace toy_lq
