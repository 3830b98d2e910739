// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/bind_context.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/trace.hpp>
#include <cstdint>
#include <vector>

// 1. What the rule is, its equation, and where it comes from.
/// Direct random target projection: credit from the label alone, through a fixed random matrix per hidden state.
///
///     a_l = -B_l onehot(y),    B_l ~ N(0, 1), fixed
///
/// - Shapes: B_l is (features of h_l, classes); a_l is (B, features), the same at every position of h_l.
/// - Source: Frenkel, Lefebvre, Bol, "Learning without feedback: fixed random learning signals allow for feedforward
///   training of deep neural networks", Frontiers in Neuroscience 15, 2021.
struct MyRule {
  // 2. Its options, with defaults: `double scale = 1;`. This rule has none.

  struct State {
    // 3. What a run of the rule keeps.
    std::vector<torch::Tensor> feedback;  ///< B_0..B_L

    // 4. Its equation: one credit per hidden state, a_0..a_L.
    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const creditlib::Trace& trace) const {
      std::vector<torch::Tensor> credits;
      for (std::int64_t l = 0; const auto& B : feedback) {
        const auto a = -B.index_select(1, trace.target).t();  // minus the columns of the samples' classes
        credits.push_back(creditlib::spread(a, model, l++));
      }
      return credits;
    }

    // 5. What a checkpoint keeps: every tensor above.
    creditlib::NamedTensors named_tensors() const { return creditlib::numbered("feedback", feedback); }
  };

  // 6. How a run begins. All random numbers come from the context, so that a seed determines them.
  template <class Model>
  State bind(Model& model, const creditlib::BindContext& context) const {
    State state;
    for (std::int64_t l = 0; l <= model->blocks(); ++l) {
      state.feedback.push_back(context.randn({creditlib::features(model, l), model->classes()}));
    }
    return state;
  }
};
