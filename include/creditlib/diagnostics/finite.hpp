// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <creditlib/scope/untouched.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace creditlib::diagnostics {

/// Finds the first step with a loss that is not finite, without waiting for the device at every step: observe() queues
/// a copy of the loss, one kernel, and first() waits. Keeps 16 bytes for each step.
class FiniteLosses {
 public:
  /// `loss` is a scalar tensor; `step` is any number >= 0.
  void observe(const torch::Tensor& loss, std::int64_t step) {
    const torch::NoGradGuard no_grad;
    if (groups_.empty() || groups_.back().steps.size() == std::size_t{group_size} ||
        groups_.back().losses.device() != loss.device())
      groups_.push_back({torch::empty({group_size}, loss.options().dtype(torch::kFloat64).requires_grad(false)), {}});
    auto& [losses, steps] = groups_.back();
    losses[static_cast<std::int64_t>(steps.size())].copy_(loss);
    steps.push_back(step);
  }

  /// The step of the first loss that was not finite, if any. Waits for the device.
  std::optional<std::int64_t> first() const {
    for (const auto& [losses, steps] : groups_) {
      const auto here = losses.cpu();
      const auto* number = here.data_ptr<double>();
      for (std::size_t i = 0; i < steps.size(); ++i) {
        if (!std::isfinite(number[i])) return steps[i];
      }
    }
    return std::nullopt;
  }

 private:
  static constexpr std::int64_t group_size = 1024;

  struct Group {
    torch::Tensor losses;  ///< (group_size), float64
    std::vector<std::int64_t> steps;
  };
  std::vector<Group> groups_;
};

/// The first part of the network, from the input up, whose parameters or output on this batch are not finite: "the
/// input", "the embed", "block 2" or "the readout"; nullopt if everything is finite. Nothing is changed. Waits for the
/// device.
template <BlockModel Model>
std::optional<std::string> first_not_finite(Model& model, const torch::Tensor& x) {
  return detail::translated([&]() -> std::optional<std::string> {
    const torch::NoGradGuard no_grad;
    const scope::Untouched untouched(*model, x.device());
    const auto is_finite = [](const torch::Tensor& t) { return t.isfinite().all().item<bool>(); };
    const auto all_finite = [&](const std::vector<torch::Tensor>& parameters) {
      for (const auto& parameter : parameters) {
        if (!is_finite(parameter)) return false;
      }
      return true;
    };
    if (!is_finite(x)) return "the input";
    torch::Tensor h = detail::embedded(model, x);
    if (!all_finite(model->embed_parameters()) || !is_finite(h)) return "the embed";
    const auto blocks = static_cast<std::int64_t>(model->blocks());
    for (std::int64_t l = 0; l < blocks; ++l) {
      h = detail::join_of(model, l, h, detail::branch_of(model, l, h));
      if (!all_finite(model->block_parameters(l)) || !is_finite(h)) return "block " + std::to_string(l);
    }
    if (!all_finite(model->readout_parameters()) || !is_finite(detail::logits_of(model, h))) return "the readout";
    return std::nullopt;
  });
}

}  // namespace creditlib::diagnostics
