// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/bind_context.hpp>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/detail/head_view.hpp>
#include <creditlib/credit/detail/labels_of.hpp>
#include <creditlib/credit/head_input.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <cstdint>
#include <vector>

namespace creditlib {

/// Channel-wise competition: the features of each hidden state are split into a group per class, and each sample's own
/// group is to have the largest goodness, the mean of its squares.
///
///     G_lj = mean of h_l^2 over group j and all positions,    a_l = d/dh_l sum_b CE(G_l, y_b)
///
/// - Group j is features floor(j F / C) to floor((j + 1) F / C): of F / C features each if C divides F. There are no
///   parameters, and nothing is drawn.
/// - Shapes: a_l has the shape of h_l. The loss is the trainer's objective. Logits with positions, at hidden states with
///   the same positions: a goodness per class at each position.
/// - Cost: an elementwise pass over h_l and two products with C columns. Reads the hidden states and the label.
/// - Throws Error at bind if a hidden state has fewer features than there are classes, or other positions than logits
///   with positions, and for an objective without labels; in a step for targets that are no labels.
/// - Source: Papachristodoulou, Kyrkou, Timotheou, Theocharides, "Convolutional channel-wise competitive learning for
///   the forward-forward algorithm", AAAI 2024.
struct ChannelGoodness {
  using Normalizer = Raw;

  struct State {
    static constexpr bool block_parallel = true;

    /// (F, C) for each of h_0..h_L: column j is 1 over the size of group j in its rows, else 0; undefined for h_0 if the
    /// model has no embed parameters.
    std::vector<torch::Tensor> groups;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      detail::labels_of("ChannelGoodness", trace);
      std::vector<torch::Tensor> credits(groups.size());
      for (std::size_t l = 0; l < groups.size(); ++l) {
        if (!groups[l].defined() || !trace.hidden[l].defined()) continue;
        credits[l] = gradient(trace, groups[l], trace.hidden[l], hidden_layout(model, static_cast<std::int64_t>(l)));
      }
      return credits;
    }

    Reads reads() const { return Reads::Target | Reads::Hidden; }
    std::vector<torch::Tensor> tensors_of(std::int64_t l) const { return {groups[static_cast<std::size_t>(l)]}; }

   private:
    static torch::Tensor gradient(const Trace& trace, const torch::Tensor& group, const torch::Tensor& h,
                                  HiddenLayout layout) {
      const auto rows = h.dim() < 3 ? h.reshape({h.size(0), 1, -1}) : detail::per_position(h, layout);
      const auto squares = rows.square();
      torch::Tensor per_row;  // dloss_i/d(mean square of a feature), for each row or for all
      if (trace.logits.dim() > 2) {
        const auto goodness = squares.matmul(group);
        const auto of_logits = detail::logits_layout(trace.logits);
        const auto e = trace.error_at(detail::from_positions(goodness, trace.logits.sizes(), of_logits));
        per_row = detail::per_position(e, of_logits).matmul(group.t());
      } else {
        const auto e = trace.error_at(squares.mean(1).mm(group));
        per_row = e.mm(group.t()).unsqueeze(1) / static_cast<double>(rows.size(1));
      }
      const auto a = rows * per_row * 2;
      return h.dim() < 3 ? a.view(h.sizes()) : detail::from_positions(a, h.sizes(), layout);
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    detail::require_labels("ChannelGoodness", context);
    State state;
    for (std::size_t l = 0; l <= static_cast<std::size_t>(model->blocks()); ++l) {
      state.groups.emplace_back();
      if (l == 0 && !has_embed(model)) continue;
      const auto input = detail::head_input(model, l, context);
      const auto features = input.features();
      if (features < input.classes) {
        detail::fail("ChannelGoodness: h_", l, " has ", features, " features, fewer than the ", input.classes,
                     " classes, so that there is no group for each.");
      }
      detail::check_positions_of_logits("ChannelGoodness", input);
      auto& group = state.groups.back() = torch::zeros({features, input.classes}, torch::kFloat64);
      for (std::int64_t j = 0; j < input.classes; ++j) {
        const auto begin = j * features / input.classes, size = (j + 1) * features / input.classes - begin;
        group.select(1, j).narrow(0, begin, size).fill_(1 / static_cast<double>(size));
      }
      group = group.to(context.device, context.dtype);
    }
    return state;
  }
};

}  // namespace creditlib
