// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/credit/credit_point.hpp>
#include <creditlib/credit/detail/own_nets.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/net/credit_net.hpp>
#include <creditlib/network/shape.hpp>
#include <string>
#include <utility>
#include <vector>

/// Shared by the learned credit sources: nets with their optimizer, and the slots that estimates go to.
namespace creditlib::detail {

using CreditNets = OwnNets<CreditNet>;

/// The first hidden state with an estimate that is used.
template <BlockModel Model>
std::size_t first_estimate(Model& model, CreditPoint at) {
  return at == CreditPoint::BlockInput || has_embed(model) ? 0 : 1;
}

/// Throws Error if an estimate made at a block's input cannot serve as credit for its output.
inline void check_credit_point(const char* rule, CreditPoint at, const std::vector<std::vector<std::int64_t>>& shapes) {
  if (at == CreditPoint::BlockOutput) return;
  for (std::size_t l = 0; l + 1 < shapes.size(); ++l) {
    if (shapes[l] == shapes[l + 1]) continue;
    fail(rule, ": .at = BlockInput drives block ", l, " with an estimate of the shape of its input, ",
         shape_text(shapes[l]), ", but its output is ", shape_text(shapes[l + 1]),
         "; use BlockOutput with this model.");
  }
}

/// Turns estimates made at h_0..h_L, flat or not, into credits a_0..a_L in the shapes of the hidden states.
template <BlockModel Model>
std::vector<torch::Tensor> as_credits(Model& model, const Trace& trace, CreditPoint at,
                                      std::vector<torch::Tensor> estimates) {
  for (std::size_t l = 0; l < estimates.size(); ++l) {
    if (estimates[l].defined()) estimates[l] = estimates[l].view(trace.hidden[l].sizes());
  }
  if (at == CreditPoint::BlockInput) {
    for (std::size_t l = estimates.size() - 1; l > 0; --l) estimates[l] = estimates[l - 1];
  }
  if (!has_embed(model)) estimates[0].reset();
  return estimates;
}

}  // namespace creditlib::detail
