// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <creditlib/detail/autocast.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/pass/graph_jacobian.hpp>
#include <creditlib/pass/parts_at_batch.hpp>
#include <creditlib/scope/math_attention.hpp>
#include <creditlib/scope/untouched.hpp>
#include <creditlib/statistics/seeded.hpp>
#include <cstdint>
#include <exception>

namespace creditlib::detail {

/// Refuses a network that Trace::pushforward cannot go through, before a source draws or learns: blocks and readout that
/// credit comes to are differentiated as a pushforward does, once. It changes nothing, LibTorch's generators included.
template <BlockModel Model>
class PushforwardCheck {
 public:
  /// When a trainer is made, at random hidden states of the model's shapes. Throws Error for an operation that cannot
  /// be differentiated. A network with a part that does not run there, for batches of one size say, is left to at_batch.
  void at_no_batch(Model& model, torch::Device device, torch::Dtype dtype) {
    const torch::AutoGradMode grad(true);
    const scope::Untouched untouched(*model, device);
    const scope::MathAttention twice_differentiable;
    const Autocast off(device, false);
    const auto generator = statistics::seeded(0);
    for (auto l = first(model); l <= model->blocks(); ++l) {
      auto sizes = hidden_sizes(model, l, several);
      for (auto& size : sizes) size = size < 0 ? several : size;
      const auto h = drawn(generator, sizes, {device, dtype}).requires_grad_();
      torch::Tensor output;
      try {
        output = output_of_part(model, l, h);
      } catch (const std::exception&) {
        return;
      }
      if (!output.defined()) return;
      GraphJacobian(output, h, part_name(model, l)).check(drawn(generator, sizes, {device, dtype}));
    }
    done_ = true;
  }

  /// Before a step, at the hidden states of its batch, unless that has been done. Waits for nothing.
  void at_batch(Model& model, const torch::Tensor& x, const PartRunner& run) {
    if (done_) return;
    const scope::MathAttention twice_differentiable;
    const auto generator = statistics::seeded(0);
    look_at_parts(model, x, run, [&](std::int64_t l, const torch::Tensor& output, const torch::Tensor& h) {
      if (l < first(model)) return;
      GraphJacobian(output, h, part_name(model, l)).times(drawn(generator, h.sizes(), {h.device(), h.scalar_type()}));
    });
    done_ = true;
  }

 private:
  static constexpr std::int64_t several = 8;  ///< samples, and positions where their number is not said

  /// The first hidden state that has credit.
  static std::int64_t first(Model& model) { return has_embed(model) ? 0 : 1; }
  struct Where {  // hidden states are
    torch::Device device;
    torch::Dtype dtype;
  };
  static torch::Tensor drawn(const torch::Generator& generator, torch::IntArrayRef sizes, const Where& where) {
    return at::randn(sizes, generator, torch::TensorOptions(torch::kFloat32)).to(where.device, where.dtype);
  }

  bool done_ = false;
};

}  // namespace creditlib::detail
