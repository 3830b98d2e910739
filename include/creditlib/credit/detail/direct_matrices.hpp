// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/bind_context.hpp>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/detail/feedback.hpp>
#include <creditlib/network/shape.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace creditlib::detail {

/// B_0..B_L of a rule with direct feedback, (features of h_l, C), or with `by_element` (elements of h_l, C): copies of
/// those given, or what make({rows, C}) gives, in the order B_1..B_L, B_0; B_0 is a copy of B_1 if their sizes are equal.
/// B_0 is undefined if the model has no embed parameters.
///
/// Throws Error, naming the rule, if given matrices do not fit.
template <BlockModel Model, class Make>
std::vector<torch::Tensor> direct_matrices(const std::string& rule, Model& model, const BindContext& context,
                                           const std::vector<torch::Tensor>& given, bool by_element, const Make& make) {
  const auto shapes = hidden_shapes(model);
  const std::int64_t classes = model->classes();
  const auto rows = [&](std::size_t l) {
    return by_element ? elements(shapes[l]) : features(model, static_cast<std::int64_t>(l));
  };
  const std::size_t first = has_embed(model) ? 0 : 1;
  std::vector<torch::Tensor> matrices(shapes.size());

  if (!given.empty()) {
    check_feedback_count(rule, given.size(), shapes.size(), "one for each of h_0..h_L");
    for (std::size_t l = first; l < shapes.size(); ++l) {
      const auto meaning =
          c10::str("one row for each of the ", rows(l), " features of h_", l, ", one column per class");
      matrices[l] = explicit_feedback(rule, l, given[l], {rows(l), classes}, meaning, context);
    }
    return matrices;
  }
  const auto made = [&](std::size_t l) {
    const std::vector<std::int64_t> sizes{rows(l), classes};
    return torch::Tensor(make(sizes));
  };
  for (std::size_t l = 1; l < shapes.size(); ++l) matrices[l] = made(l);
  if (first == 0) matrices[0] = rows(0) == rows(1) ? matrices[1].clone() : made(0);
  return matrices;
}

/// A matrix of N(0, 1) / sqrt(C), so that what it gives has the size of what it is given.
inline torch::Tensor random_direct_matrix(const BindContext& context, torch::IntArrayRef sizes) {
  return context.randn(sizes, 1 / std::sqrt(static_cast<double>(sizes[1])));
}

/// A matrix whose columns have random directions and norm 1; normalized before it is cast, so that float32 and float64
/// get the same numbers.
inline torch::Tensor random_unit_columns(const BindContext& context, torch::IntArrayRef sizes) {
  const auto drawn = BindContext{torch::kCPU, torch::kFloat32, context.generator}.randn(sizes);
  return (drawn / drawn.norm(2, 0, /*keepdim=*/true)).to(context.device, context.dtype);
}

}  // namespace creditlib::detail
