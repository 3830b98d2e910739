// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/creditlib.hpp>
#include <string>

/// A learned rule in a mix, a network for images, a metric and a check, made anew by each file that includes this.
static std::string verdict_of_parts() {
  torch::manual_seed(3);
  const auto x = torch::randn({8, 1, 4, 4}), y = torch::arange(8).remainder(4);
  auto model =
      creditlib::ViTMini({.width = 8, .heads = 2, .blocks = 2, .classes = 4, .patch = 2, .image = 4, .channels = 1});
  creditlib::LocalTrainer trainer(model, creditlib::Mix{creditlib::DFA{}, creditlib::Vec{.hidden = 8}}, {.seed = 5},
                                  creditlib::Blend{});
  trainer.step(x, y);
  const auto rho = creditlib::diagnostics::perturbation_correlation(model, x, y, trainer.raw_credits(x, y));
  const auto norms = creditlib::diagnostics::median_norms(creditlib::diagnostics::hidden_states(model, x));
  const auto verdict = creditlib::audit::verdict({creditlib::audit::scale_growth(norms)});
  return verdict.text() + ", " + std::to_string(rho.size()) + " hidden states";
}
