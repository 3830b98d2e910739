// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/credit/detail/feedback.hpp>
#include <creditlib/factored_credit.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/network/shape.hpp>

namespace creditlib {

/// Direct feedback alignment: a fixed random matrix per hidden state projects the output error onto it.
///
///     a_l = e B_l^T,    B_l ~ N(0, 1) / sqrt(C), fixed
///
/// - Shapes: e, the error dloss_i/dlogits, is (B, C); B_l is (size of h_l, C); a_l is (B, size of h_l).
/// - Hidden states with positions: B_l has one row per feature, and a_l is the same at every position; with
///   `by_element` B_l has one row per element.
/// - Logits with positions, (B, N, C) or (B, C, H, W): at hidden states with the same positions a_l is that of each
///   position, e[b, n] B_l^T; elsewhere e is summed over its positions.
/// - With the factor 1/sqrt(C), the elements of a_l have the size of e's. B_0 is a copy of B_1 if their sizes are
///   equal, so that the embed and block 0 get the same credit.
/// - Cost: B d C multiplications per hidden state, and d C stored numbers for each. Reads the error alone.
/// - Throws Error at bind if explicit feedback has the wrong number of matrices or a wrong shape.
/// - Source: Nøkland, "Direct feedback alignment provides learning in deep neural networks", NeurIPS 2016.
struct DFA {
  /// B_0..B_L, each (size of h_l, C). They are copied, then cast and moved to the model's dtype and device, and nothing
  /// is drawn. B_0 may be undefined if the model has no embed parameters. If empty, the matrices are drawn at bind.
  std::vector<torch::Tensor> feedback = {};
  /// For hidden states with positions: one row of B_l per element instead of one per channel.
  bool by_element = false;

  struct State {
    static constexpr bool reads_error_only = true;

    std::vector<torch::Tensor> feedback;  ///< B_0..B_L; B_0 is undefined if the model has no embed parameters
    bool by_element = false;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      std::vector<torch::Tensor> credits(feedback.size());
      const auto layout = detail::logits_layout(trace.error);
      const auto positions = detail::position_sizes(trace.error.sizes(), layout);
      const auto e = pooled(trace.error, layout);
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        if (!feedback[l].defined()) continue;
        const auto at = static_cast<std::int64_t>(l);
        const auto& h = trace.hidden[l];
        if (by_element) {
          credits[l] = e.mm(feedback[l].t()).view(h.sizes());
        } else if (const auto own = hidden_layout(model, at);
                   !positions.empty() && detail::position_sizes(h.sizes(), own) == positions) {
          const auto rows = detail::per_position(trace.error, layout).matmul(feedback[l].t());
          credits[l] = detail::from_positions(rows, h.sizes(), own);
        } else {
          credits[l] = spread(e.mm(feedback[l].t()), model, at);
        }
      }
      return credits;
    }

    /// The same credit for hidden states (B, d), as the factors e and B_l.
    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model&, const Trace& trace) const {
      std::vector<FactoredCredit> credits(feedback.size());
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        if (feedback[l].defined()) credits[l] = {trace.error, feedback[l]};
      }
      return credits;
    }

    NamedTensors named_tensors() const { return numbered("feedback", feedback); }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    const auto shapes = hidden_shapes(model);
    const std::int64_t classes = model->classes();
    const auto rows = [&](std::size_t l) {
      return by_element ? elements(shapes[l]) : features(model, static_cast<std::int64_t>(l));
    };
    const bool embed = has_embed(model);
    std::vector<torch::Tensor> matrices(shapes.size());

    if (!feedback.empty()) {
      detail::check_feedback_count("DFA", feedback.size(), shapes.size(), "one for each of h_0..h_L");
      for (std::size_t l = embed ? 0 : 1; l < shapes.size(); ++l) {
        const auto meaning =
            c10::str("one row for each of the ", rows(l), " features of h_", l, ", one column per class");
        matrices[l] = detail::explicit_feedback("DFA", l, feedback[l], {rows(l), classes}, meaning, context);
      }
      return {matrices, by_element};
    }
    const auto draw = [&](std::size_t l) {
      return context.randn({rows(l), classes}, 1 / std::sqrt(static_cast<double>(classes)));
    };
    for (std::size_t l = 1; l < shapes.size(); ++l) matrices[l] = draw(l);
    if (embed) matrices[0] = rows(0) == rows(1) ? matrices[1].clone() : draw(0);
    return {matrices, by_element};
  }
};

}  // namespace creditlib
