// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>
#include <torch/csrc/autograd/autograd.h>

#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/detail/shapes.hpp>
#include <creditlib/testing/report.hpp>

/// Laws of local losses.
namespace creditlib::detail::laws {

/// The loss is a scalar of f's dtype; f and a stay as they were.
template <LocalLoss L>
Verdict local_loss_is_a_scalar(const L& loss) {
  at::manual_seed(4);
  for (std::size_t i = 0; i < state_shapes.size(); ++i) {
    for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
      const auto f = torch::randn(state_shapes[i]).to(dtype), a = torch::randn(channel_shapes[i]).to(dtype);
      const auto f_before = f.clone(), a_before = a.clone();

      const torch::Tensor value = loss(f, a);

      if (value.dim() != 0 || value.scalar_type() != dtype) return failed("the loss is no scalar of f's dtype");
      if (!torch::equal(f, f_before) || !torch::equal(a, a_before)) return failed("f or a is overwritten");
    }
  }
  return held();
}

template <LocalLoss L>
torch::Tensor gradient_by_autograd(const L& loss, const torch::Tensor& f, const torch::Tensor& a) {
  const auto leaf = f.clone().requires_grad_();
  return torch::autograd::grad({loss(leaf, a)}, {leaf})[0];
}

/// output_gradient is the loss's gradient in f, and has f's shape.
template <LocalLoss L>
Verdict output_gradient_is_the_gradient(const L& loss) {
  if constexpr (!HasOutputGradient<L>) {
    return not_applicable("the loss has no output_gradient");
  } else {
    at::manual_seed(5);
    for (std::size_t i = 0; i < state_shapes.size(); ++i) {
      const auto f = torch::randn(state_shapes[i], torch::kFloat64);
      for (const auto& shape : {state_shapes[i], channel_shapes[i]}) {
        const auto a = torch::randn(shape, torch::kFloat64);
        if (distance(loss.output_gradient(f, a), gradient_by_autograd(loss, f, a)) > 1e-13) {
          return failed("output_gradient is another than autograd's for f " + shape_text(state_shapes[i]));
        }
      }
    }
    return held();
  }
}

/// The loss is a batch mean: a sample's gradient times B is the same in a smaller batch.
template <LocalLoss L>
Verdict local_loss_is_a_batch_mean(const L& loss) {
  at::manual_seed(6);
  for (const auto& shape : state_shapes) {
    const auto f = torch::randn(shape, torch::kFloat64), a = torch::randn(shape, torch::kFloat64);
    const auto whole = 5 * gradient_by_autograd(loss, f, a);
    const auto part = 3 * gradient_by_autograd(loss, part_of(f), part_of(a));
    if (distance(part_of(whole), part) > 1e-13)
      return failed("the gradient of f " + shape_text(shape) + " is not of a mean");
  }
  return held();
}

/// multiple_of_credit is the k for which the gradient is k a, whatever f.
template <LocalLoss L>
Verdict multiple_of_credit_is_the_multiple(const L& loss) {
  if constexpr (!MultipleOfCreditFromSizes<L>) {
    return not_applicable("the loss has no multiple_of_credit");
  } else {
    at::manual_seed(7);
    for (std::size_t i = 0; i < state_shapes.size(); ++i) {
      const auto k = loss.multiple_of_credit(torch::IntArrayRef(state_shapes[i]));
      if (!k) continue;
      const auto f = torch::randn(state_shapes[i], torch::kFloat64),
                 a = torch::randn(channel_shapes[i], torch::kFloat64);
      if (distance(gradient_by_autograd(loss, f, a), (*k * a).expand_as(f)) > 1e-13) {
        return failed("the gradient of f " + shape_text(state_shapes[i]) + " is another multiple");
      }
    }
    return held();
  }
}

/// The embed's loss has the gradient of autograd too.
template <LocalLoss L>
Verdict embed_loss_is_a_local_loss(const L& loss) {
  if constexpr (!HasEmbedLoss<L>) {
    return not_applicable("the loss has no embed_loss");
  } else {
    return output_gradient_is_the_gradient(loss.embed_loss());
  }
}

}  // namespace creditlib::detail::laws
