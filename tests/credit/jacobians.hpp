// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/credit/detail/direct_path.hpp>
#include <creditlib/credit/detail/jacobian_estimates.hpp>
#include <creditlib/network/detail/forward_from.hpp>
#include <vector>

#include "../test.hpp"

/// The Jacobians that direct feedback stands for, exactly.
namespace creditlib::test {

/// The mean of the estimates along sqrt(n) e_k, k = 1..n, of each hidden state's n numbers for the rows of B_l, one hidden
/// state after another.
template <class Model>
std::vector<torch::Tensor> along_all_directions(Model& model, const Trace& trace,
                                                const std::vector<torch::Tensor>& feedback) {
  const detail::OutputRows outputs(trace.error);
  std::vector<torch::Tensor> means(feedback.size());
  for (std::size_t l = 0; l < feedback.size(); ++l) {
    if (!feedback[l].defined()) continue;
    const detail::DirectPath path(model, trace, l, feedback[l], outputs);
    const auto rows = torch::zeros_like(path.hidden_rows(trace.hidden[l])).contiguous();
    const auto count = rows.flatten(1).size(1);
    for (std::int64_t k = 0; k < count; ++k) {
      rows.zero_();
      rows.view({rows.size(0), -1}).select(1, k).fill_(std::sqrt(static_cast<double>(count)));
      std::vector<torch::Tensor> u(feedback.size());
      u[l] = path.credit(rows).clone();
      const auto estimate = detail::jacobian_estimates(model, trace, feedback, u)[l] / count;
      means[l] = means[l].defined() ? means[l] + estimate : estimate;
    }
  }
  return means;
}

/// The mean of dlogits/dh_l, transposed, in the shape of B_l: over samples and, where a row of B_l is of a feature, over
/// its positions and the logits', of the same positions alone if they are the same ones. By autograd, class by class.
template <class Model>
std::vector<torch::Tensor> mean_jacobians(Model& model, const Trace& trace,
                                          const std::vector<torch::Tensor>& feedback) {
  const detail::OutputRows outputs(trace.error);
  std::vector<torch::Tensor> means(feedback.size());
  for (std::size_t l = 0; l < feedback.size(); ++l) {
    if (!feedback[l].defined()) continue;
    const detail::DirectPath path(model, trace, l, feedback[l], outputs);
    const torch::AutoGradMode grad(true);
    const auto h = trace.hidden[l].detach().clone().requires_grad_();
    const auto logits = detail::forward_from(model, static_cast<std::int64_t>(l), h);
    const auto by_class = detail::per_position(logits.dim() > 2 ? logits : logits.unsqueeze(1),
                                               detail::logits_layout(logits));  // (B, N, C)
    const bool same_position = path.rows(outputs).dim() == 3;
    const auto N = by_class.size(1);
    std::vector<torch::Tensor> columns;
    for (std::int64_t c = 0; c < by_class.size(2); ++c) {
      torch::Tensor column;
      for (std::int64_t n = 0; n < N; ++n) {
        const auto g = torch::autograd::grad({by_class.select(2, c).select(1, n).sum()}, {h}, {}, true)[0];
        const auto rows = path.hidden_rows(g);  // (B, rows), or (B, N, rows)
        const auto own = (same_position ? rows.select(1, n) : rows).mean(0) / N;
        column = column.defined() ? column + own : own;
      }
      const auto positions = same_position ? 1 : h[0].numel() / feedback[l].size(0);
      columns.push_back(column / positions);
    }
    means[l] = at::stack(columns, 1);
  }
  return means;
}

}  // namespace creditlib::test
