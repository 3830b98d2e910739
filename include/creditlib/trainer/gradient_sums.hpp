// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/joint_mean.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/network/detail/gradient_ready.hpp>
#include <creditlib/parameter_parts.hpp>
#include <creditlib/pass/output_gradients.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// One backward pass' gradients over this rank's rows on their way to being those of the rows of all ranks. Those that are
/// ready are sent while others are made, in an order that is the same on all ranks. Does nothing in one process.
///
/// Of gradients as factors, whose left ones are the same on all ranks, the right ones are summed: exactly the dense sum, in
/// fewer numbers.
class GradientSums {
 public:
  /// Bytes of a message, of which the last can have fewer: one that is large enough for the network's rate to count and not
  /// its latency.
  static constexpr std::int64_t message_bytes = std::int64_t{1} << 20;

  GradientSums() = default;
  GradientSums(distributed::Group& group, const ParameterParts& parts, bool goes_up, std::int64_t samples)
      : sums_(std::make_unique<Sums>(group, parts, goes_up, samples)) {}

  /// What a backward pass tells what it has made.
  GradientReady ready() const {
    if (!sums_) return {};
    return [sums = sums_.get()](const torch::Tensor& parameter, const torch::Tensor& gradient) {
      sums->made(parameter, gradient);
    };
  }

  /// Replaces the pass' gradients, those in `factors` too, by the mean ones over the rows of all ranks. Returns `result` with
  /// the mean loss and the sum of correct ones.
  StepResult finish(std::vector<torch::Tensor>& gradients, const std::vector<FactoredGradient>& factors,
                    const StepResult& result) {
    if (!sums_) return result;
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> totals{result.loss * static_cast<double>(sums_->samples), result.correct};
    const auto all = sums_->finish(gradients, factors, totals);
    return {totals[0] / all, totals[1].round().to(torch::kInt64)};
  }
  void finish(std::vector<torch::Tensor>& gradients, const std::vector<FactoredGradient>& factors) {
    std::vector<torch::Tensor> totals;
    if (sums_) sums_->finish(gradients, factors, totals);
  }

 private:
  struct Sums {
    Sums(distributed::Group& group, const ParameterParts& parts, bool goes_up, std::int64_t rows)
        : parameters(parts.all),
          made_by_now(parts.all.size()),
          samples(rows),
          mean(group, rows, parts.all[0].options(), message_bytes) {
      const auto add = [&](const std::vector<std::size_t>& positions) {
        for (const auto i : positions) {
          if (parameters[i].requires_grad()) order.push_back(i);
        }
      };
      auto blocks = parts.blocks;
      if (!goes_up) std::ranges::reverse(blocks);
      add(parts.readout);
      for (const auto& block : blocks) add(block);
      add(parts.embed);
      for (const auto i : order) position.emplace(parameters[i].unsafeGetTensorImpl(), i);
    }

    /// Sends it as soon as all before it are made.
    void made(const torch::Tensor& parameter, const torch::Tensor& gradient) {
      made_by_now[position.at(parameter.unsafeGetTensorImpl())] = gradient;
      for (; next < order.size() && made_by_now[order[next]].defined(); ++next) {
        const auto gone = std::exchange(made_by_now[order[next]], {});
        mean.add(gone, gone);
      }
    }

    torch::Tensor finish(std::vector<torch::Tensor>& gradients, const std::vector<FactoredGradient>& factors,
                         std::vector<torch::Tensor>& totals) {
      const auto is_factored = [&](std::size_t i) { return !factors.empty() && factors[i].defined(); };
      for (; next < order.size(); ++next) {
        const auto i = order[next];
        const auto& rest = is_factored(i) ? factors[i].right : gradients[i];
        mean.add(rest, rest.defined() ? rest : parameters[i]);
      }
      return mean.finish(totals, [&](std::size_t k, const torch::Tensor& joint) {
        const auto i = order[k];
        auto& gradient = gradients[i];
        if (!joint.defined()) {
          gradient.reset();
        } else if (is_factored(i)) {
          gradient = FactoredGradient{factors[i].left, joint}.dense();
        } else {
          gradient = parameters[i].is_contiguous() ? joint : at::empty_like(parameters[i]).copy_(joint);
        }
      });
    }

    std::vector<torch::Tensor> parameters;
    std::vector<torch::Tensor> made_by_now;  ///< and not sent
    std::int64_t samples;
    JointMean mean;
    std::vector<std::size_t> order;  ///< in which gradients are sent: positions among the parameters
    std::unordered_map<const void*, std::size_t> position;
    std::size_t next = 0;  ///< in that order
  };

  std::unique_ptr<Sums> sums_;
};

}  // namespace creditlib::detail
