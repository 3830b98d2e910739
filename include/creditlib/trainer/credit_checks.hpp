// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/shape.hpp>
#include <cstdint>
#include <string>
#include <vector>

/// Checks of what credit sources return.
namespace creditlib::detail {

/// Throws Error, naming the source, unless there is one credit per hidden state, each of a shape, dtype and device that
/// fit. a_0 may be undefined; without an embed it may be anything, as it is not read. States that the trace does not have,
/// being those of other processes, need no credit.
template <BlockModel Model>
void check_credits(const std::string& source, const std::vector<torch::Tensor>& credits, const Trace& trace,
                   Model& model, bool embed) {
  if (credits.size() != trace.hidden.size()) {
    fail(source, " gave ", credits.size(), " credits, expected ", trace.hidden.size(), ": one for each of h_0..h_L.");
  }
  for (std::size_t l = 0; l < credits.size(); ++l) {
    const auto &a = credits[l], &output = l == 0 ? trace.hidden[0] : trace.branch[l - 1];
    if (!output.defined() || (l == 0 && (!embed || !a.defined()))) continue;
    bool fits = a.defined() && a.dim() == output.dim() && a.size(0) == output.size(0) &&
                a.scalar_type() == output.scalar_type() && a.device() == output.device();
    for (std::int64_t d = 1; fits && d < a.dim(); ++d) fits = a.size(d) == output.size(d) || a.size(d) == 1;
    if (!fits) {
      fail(source, " gave credit ", l, " as ", tensor_text(a), ", expected ", tensor_text(output), " like ",
           l == 0 ? "h_0" : "the output of block " + std::to_string(l - 1), ", or a shape that broadcasts to it.");
    }
    if (a.dim() < 3) continue;
    const auto first = hidden_layout(model, static_cast<std::int64_t>(l)) == HiddenLayout::FeaturesFirst;
    const auto dimension = first ? 1 : a.dim() - 1;
    if (a.size(dimension) == 1 && output.size(dimension) != 1 && a.numel() != a.size(0)) {
      fail(source, " gave credit ", l, " as ", tensor_text(a), " for ", tensor_text(output), ", whose features are in ",
           first ? "the first dimension after the batch" : "the last dimension",
           ": one value per position, the same for all features. For one value per feature, use features(model, l) and "
           "spread(a, model, l).");
    }
  }
}

/// The same for credit that is kept as factors. In constant memory the trace has no list of states.
template <BlockModel Model>
void check_factored_credits(const std::vector<FactoredCredit>& credits, Model& model, const Trace& trace) {
  const auto states = static_cast<std::size_t>(model->blocks()) + 1;
  if (credits.size() != states) {
    fail("factored_credit gave ", credits.size(), " credits, expected ", states, ": one for each of h_0..h_L.");
  }
  const auto batch = trace.error.size(0);
  for (std::size_t l = 0; l < states; ++l) {
    const auto& [left, right, scale] = credits[l];
    if (l == 0 && (!left.defined() || !has_embed(model))) continue;
    if (!trace.hidden.empty() && !trace.hidden[l].defined()) continue;
    const auto features = elements(model->hidden_shape(static_cast<std::int64_t>(l)));
    const auto fits = [&](const torch::Tensor& factor, std::int64_t rows) {
      return factor.defined() && factor.dim() == 2 && factor.size(0) == rows &&
             factor.options().type_equal(trace.error.options());
    };
    const bool scales = !scale.defined() || (fits(scale, batch) && scale.size(1) == 1);
    if (!fits(left, batch) || !fits(right, features) || !scales || left.size(1) != right.size(1)) {
      fail("factored_credit gave credit ", l, " as ", tensor_text(left), " times ", tensor_text(right),
           " transposed, scaled by ", scale.defined() ? tensor_text(scale) : "1", "; expected (", batch, ", r), (",
           features, ", r) and 1 or (", batch, ", 1), ", dtype_text(trace.error.scalar_type()), " on ",
           trace.error.device(), ".");
    }
  }
}

}  // namespace creditlib::detail
