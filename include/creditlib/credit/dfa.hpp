// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/detail/direct_matrices.hpp>
#include <creditlib/credit/detail/direct_path.hpp>
#include <creditlib/credit/detail/direct_products.hpp>
#include <creditlib/credit/detail/row_norms.hpp>
#include <creditlib/credit/detail/signal.hpp>
#include <creditlib/credit/signal.hpp>
#include <creditlib/detail/factored_squares.hpp>
#include <creditlib/factored_credit.hpp>
#include <creditlib/named_tensors.hpp>
#include <cstdint>
#include <optional>
#include <vector>

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
/// - `signal` replaces e: by its signs, or by minus the target (DRTP).
/// - Cost: B d C multiplications per hidden state, and d C stored numbers for each. Reads the error alone, or with
///   Signal::Target the target alone.
/// - Throws Error at bind if explicit feedback has the wrong number of matrices or a wrong shape; in a step for a target
///   that Signal::Target cannot project: one that is neither class indices nor, in the logits' shape, within 0..1.
/// - Source: Nøkland, "Direct feedback alignment provides learning in deep neural networks", NeurIPS 2016.
struct DFA {
  /// B_0..B_L, each (size of h_l, C). They are copied, then cast and moved to the model's dtype and device, and nothing
  /// is drawn. B_0 may be undefined if the model has no embed parameters. If empty, the matrices are drawn at bind.
  std::vector<torch::Tensor> feedback = {};
  /// For hidden states with positions: one row of B_l per element instead of one per channel.
  bool by_element = false;
  Signal signal = Signal::Error;
  /// Columns are drawn with norm 1, and e B_l^T is scaled to the norm of e, for each sample (or position): credit of one
  /// size at every hidden state. RowRms undoes the scaling; use Raw.
  bool normalized = false;

  struct State {
    static constexpr bool reads_error_only = true;
    static constexpr bool block_parallel = true;

    std::vector<torch::Tensor> feedback;  ///< B_0..B_L; B_0 is undefined if the model has no embed parameters
    Signal signal = Signal::Error;
    bool normalized = false;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      std::vector<torch::Tensor> credits(feedback.size()), e(feedback.size()), matrices(feedback.size());
      std::vector<std::optional<detail::DirectPath>> paths(feedback.size());
      const detail::OutputRows outputs(detail::signal_of(signal, trace));
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        if (!feedback[l].defined() || !trace.hidden[l].defined()) continue;
        matrices[l] = feedback[l];
        paths[l].emplace(model, trace, l, feedback[l], outputs);
        e[l] = paths[l]->rows(outputs);
      }
      const auto products = detail::direct_products(e, matrices);
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        if (!paths[l]) continue;
        credits[l] = paths[l]->credit(normalized ? detail::with_norms_of(e[l], products[l]) : products[l]);
      }
      return credits;
    }

    /// The same credit for hidden states (B, d), as the factors e and B_l.
    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model&, const Trace& trace) const {
      std::vector<FactoredCredit> credits(feedback.size());
      const auto e = detail::signal_of(signal, trace);
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        const bool elsewhere = !trace.hidden.empty() && !trace.hidden[l].defined();  // h_l is another process'
        if (!feedback[l].defined() || elsewhere) continue;
        credits[l] = {e, feedback[l]};
        if (!normalized) continue;
        const auto norms = detail::factored_squares(e, feedback[l]).sqrt_();
        credits[l].scale = detail::factor_of_norms(e.norm(2, 1, /*keepdim=*/true), norms);
      }
      return credits;
    }

    Reads reads() const { return signal == Signal::Target ? Reads::Target : Reads::Error; }
    NamedTensors named_tensors() const { return numbered("feedback", feedback); }
    std::vector<torch::Tensor> tensors_of(std::int64_t l) const { return {feedback[static_cast<std::size_t>(l)]}; }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    const auto draw = [&](torch::IntArrayRef sizes) {
      return normalized ? detail::random_unit_columns(context, sizes) : detail::random_direct_matrix(context, sizes);
    };
    return {detail::direct_matrices("DFA", model, context, feedback, by_element, draw), signal, normalized};
  }
};

}  // namespace creditlib
