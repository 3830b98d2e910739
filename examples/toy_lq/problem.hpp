// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/data/batches.hpp>
#include <creditlib/diagnostics/ridge_control.hpp>
#include <creditlib/statistics/measured.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "support/linear_quadratic.hpp"
#include "toy_lq/settings.hpp"

namespace toy_lq {

using Tensors = std::vector<torch::Tensor>;

/// The dynamics, samples of them that no rule has seen, and what is known of those without back-propagation.
class Problem {
 public:
  explicit Problem(const Settings& s);

  /// In eval mode, in which a batch is whole in each process.
  support::LinearQuadratic& model() { return model_; }
  /// The samples that figures are measured on. Asking for them seeds LibTorch's global generator, so that the noise of
  /// the next forward pass is the one that they have had from the start.
  const creditlib::data::Batch& held_out() const;
  const Tensors& costates() const { return costates_; }
  /// The largest distance between a costate and the gradient by autograd, as a share of the costate's norm.
  double distance_to_autograd() const { return distance_; }
  /// Costate cosine of the best gradient of any function of LayerNorm(h).
  const nlohmann::ordered_json& layer_norm_ceiling() const { return layer_norm_ceiling_; }

  /// Credits at h_1..h_L against the costates.
  std::vector<creditlib::diagnostics::Measured> cosines(const Tensors& credits) const;
  /// All figures of credits for the held-out samples.
  nlohmann::ordered_json measured(const Tensors& credits);
  /// Credits for the held-out samples by ridge regression from the error, fitted on others.
  Tensors ridge_credits(const creditlib::data::Batch& others);

 private:
  Tensors through_layer_norm(const Tensors& hidden) const;

  const Settings& s_;
  support::LinearQuadratic model_;
  creditlib::data::Batch held_out_;
  torch::Tensor noise_;
  creditlib::diagnostics::ErrorsAndGradients exact_;
  Tensors costates_;
  double distance_ = 0;
  nlohmann::ordered_json layer_norm_ceiling_;
};

/// Streams of random numbers, one a purpose.
constexpr std::uint64_t evaluation_stream = 1, ridge_stream = 2, training_stream = 3;

}  // namespace toy_lq
