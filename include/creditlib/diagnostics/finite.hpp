#pragma once

#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <creditlib/scope/untouched.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <optional>
#include <string>

namespace creditlib::diagnostics {

/// Finds the first step whose loss was not finite without waiting for the device at every step: observe() queues its
/// work, first() waits.
class FiniteLosses {
 public:
  /// `loss` is a scalar tensor, `step` any number of the caller's, >= 0.
  void observe(const torch::Tensor& loss, std::int64_t step) {
    const torch::NoGradGuard no_grad;
    const auto here = torch::where(loss.isfinite(), -1, step);
    first_ = first_.defined() ? torch::where(first_ >= 0, first_, here) : here;
  }

  /// The step of the first loss that was not finite, if any was. Waits for the device.
  std::optional<std::int64_t> first() const {
    if (!first_.defined()) return std::nullopt;
    const auto step = first_.item<std::int64_t>();
    return step < 0 ? std::nullopt : std::optional(step);
  }

 private:
  torch::Tensor first_;
};

/// The first part of the network whose parameters or, on this batch, output is not finite, from the input up: "the
/// input", "the embed", "block 2", "the readout"; nothing where all are finite. Nothing is changed. Waits for the
/// device.
template <BlockModel Model>
std::optional<std::string> first_not_finite(Model& model, const torch::Tensor& x) {
  return detail::translated([&]() -> std::optional<std::string> {
    const torch::NoGradGuard no_grad;
    const scope::Untouched untouched(*model, x.device());
    const auto sound = [](const torch::Tensor& t) { return t.isfinite().all().item<bool>(); };
    const auto all_sound = [&](const std::vector<torch::Tensor>& parameters) {
      for (const auto& parameter : parameters) {
        if (!sound(parameter)) return false;
      }
      return true;
    };
    if (!sound(x)) return "the input";
    torch::Tensor h = model->embed(x);
    if (!all_sound(model->embed_parameters()) || !sound(h)) return "the embed";
    const auto blocks = static_cast<std::int64_t>(model->blocks());
    for (std::int64_t l = 0; l < blocks; ++l) {
      h = model->join(l, h, detail::branch_of(model, l, h));
      if (!all_sound(model->block_parameters(l)) || !sound(h)) return "block " + std::to_string(l);
    }
    if (!all_sound(model->readout_parameters()) || !sound(model->readout(h))) return "the readout";
    return std::nullopt;
  });
}

}  // namespace creditlib::diagnostics
