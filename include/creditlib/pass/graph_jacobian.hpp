// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include <creditlib/error.hpp>
#include <string>
#include <utility>

namespace creditlib::detail {

/// The Jacobian J of an output in an input, of a graph that autograd has recorded: of that very function, with its
/// Dropout masks and batch statistics. The graph's backward pass gives products with J^T; they are linear, so that the
/// backward pass of theirs gives products with J:
///
///     g(w) = J^T w,    J v = (dg/dw)^T v
class GraphJacobian {
 public:
  /// `part` is what messages call the part of the network. Keeps the graph of g until it is destroyed.
  GraphJacobian(const torch::Tensor& output, const torch::Tensor& input, std::string part)
      : part_(std::move(part)), w_(varied_like(output)) {
    const torch::AutoGradMode grad(true);
    w_.requires_grad_();
    if (output.requires_grad()) pulled_ = gradient(output, input, w_, /*create_graph=*/true);
  }

  /// J v, in the shape of the output; v has that of the input.
  ///
  /// Throws Error if some operation's backward pass cannot be differentiated. One that LibTorch does not know of, a
  /// user's that writes memory itself, is found by <g(w), v> = <w, J v>: on the CPU, since elsewhere looking would wait
  /// for the device.
  torch::Tensor times(const torch::Tensor& v) const { return times(v, v.is_cpu()); }
  /// Throws Error for either on any device, for which it waits.
  void check(const torch::Tensor& v) const { times(v, /*look=*/true); }

 private:
  torch::Tensor times(const torch::Tensor& v, bool look) const {
    if (!pulled_.defined()) return torch::zeros_like(w_.detach());
    torch::Tensor product;
    if (pulled_.requires_grad()) product = gradient(pulled_, w_, v, /*create_graph=*/false);
    if (!product.defined()) product = torch::zeros_like(w_.detach());
    if (look || !pulled_.requires_grad()) compare(v, product);
    return product;
  }

  /// Numbers that no layer maps to 0 but by design.
  static torch::Tensor varied_like(const torch::Tensor& output) {
    const auto varied = torch::arange(output.numel(), output.options().requires_grad(false)).cos_();
    return torch::empty_like(output.detach()).copy_(varied.view(output.sizes()));
  }

  /// The gradient of <of, v> in `by`; undefined if there is none.
  torch::Tensor gradient(const torch::Tensor& of, const torch::Tensor& by, const torch::Tensor& v,
                         bool create_graph) const {
    try {
      return torch::autograd::grad({of}, {by}, {v}, /*retain_graph=*/true, create_graph, /*allow_unused=*/true)[0];
    } catch (const c10::Error& error) {
      fail("Trace::pushforward: ", part_, " has an operation whose backward pass LibTorch cannot differentiate (",
           error.what_without_backtrace(), "); replace it, or use a rule without wants_pushforward.");
    }
  }

  void compare(const torch::Tensor& v, const torch::Tensor& product) const {
    const auto dtype = v.scalar_type();
    if (dtype != torch::kFloat32 && dtype != torch::kFloat64) return;  // too coarse to tell
    const auto one = pulled_.detach() * v, other = w_.detach() * product;
    const double apart = (one.sum() - other.sum()).abs().item<double>();
    const double size = (one.abs().sum() + other.abs().sum()).item<double>();
    if (!(apart > (dtype == torch::kFloat64 ? 1e-8 : 1e-3) * size)) return;
    fail("Trace::pushforward: ", part_,
         " has an operation whose backward pass is not made of operations that autograd sees, such as a "
         "torch::autograd::Function that writes memory itself, so that it cannot be differentiated; write it with "
         "tensor operations, or use a rule without wants_pushforward.");
  }

  std::string part_;
  torch::Tensor w_, pulled_;  ///< w, and g(w) on its graph
};

}  // namespace creditlib::detail
