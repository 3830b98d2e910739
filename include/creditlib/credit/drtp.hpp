// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/signal.hpp>
#include <vector>

namespace creditlib {

/// Direct random target projection: credit from the target alone, through a fixed random matrix per hidden state.
///
///     a_l = -B_l onehot(y),    B_l ~ N(0, 1) / sqrt(C), fixed
///
/// The error of a class index is negative at its class and positive elsewhere, whatever the logits are: the label tells
/// its signs. It is DFA{.signal = Signal::Target}, with DFA's shapes and positions.
///
/// - A distribution over the classes, a target of the logits' shape within 0..1, is projected as it is: -B_l y. A target
///   that the objective does not count (ignore_index, a class of weight 0) gives credit 0. Label smoothing, and weights
///   of classes other than 0, make no difference.
/// - Cost: as DFA. Reads the target alone; no hidden state waits for the logits.
/// - Throws Error at bind if explicit feedback has the wrong number of matrices or a wrong shape; in a step for a target
///   that is neither class indices nor a distribution, as that of a regression, whose error's signs it does not tell.
/// - Source: Frenkel, Lefebvre, Bol, "Learning without feedback: fixed random learning signals allow for feedforward
///   training of deep neural networks", Frontiers in Neuroscience 15, 2021.
struct DRTP {
  std::vector<torch::Tensor> feedback = {};  ///< B_0..B_L, each (size of h_l, C), as in DFA; drawn if empty
  bool by_element = false;                   ///< one row of B_l per element instead of one per channel

  using State = DFA::State;

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    const auto draw = [&](torch::IntArrayRef sizes) { return detail::random_direct_matrix(context, sizes); };
    return {detail::direct_matrices("DRTP", model, context, feedback, by_element, draw), Signal::Target};
  }
};

}  // namespace creditlib
