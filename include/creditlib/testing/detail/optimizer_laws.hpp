// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/report.hpp>
#include <creditlib/trained_parameter.hpp>
#include <cstdint>
#include <vector>

/// The laws of optimizers.
namespace creditlib::detail::laws {

/// An optimizer on a matrix and a vector of its own.
template <class O>
class OptimizedPair {
 public:
  explicit OptimizedPair(const O& optimizer, double lr = 0.01, double lr_of_second = 0.01,
                         torch::Dtype dtype = torch::kFloat64)
      : parameters{torch::linspace(-1, 1, 6, dtype).view({2, 3}), torch::linspace(0.5, 2, 4, dtype)},
        state(optimizer.bind(
            std::vector<TrainedParameter>{{parameters[0], lr, 0.1}, {parameters[1], lr_of_second, 0.1}})) {
    state.set_rate(1);
  }

  /// The gradients of step i.
  std::vector<torch::Tensor> gradients(std::int64_t i) const {
    std::vector<torch::Tensor> all;
    for (const auto& parameter : parameters) {
      all.push_back((torch::arange(parameter.numel(), parameter.options()) + static_cast<double>(i))
                        .cos()
                        .view(parameter.sizes()));
    }
    return all;
  }
  void step(std::int64_t i) {
    const auto given = gradients(i);
    for (std::size_t p = 0; p < given.size(); ++p) parameters[p].mutable_grad() = given[p];
    state.step();
  }
  void steps(std::int64_t from, std::int64_t to) {
    for (auto i = from; i < to; ++i) step(i);
  }

  std::vector<torch::Tensor> parameters;
  std::remove_cvref_t<decltype(std::declval<const O&>().bind(std::declval<std::vector<TrainedParameter>>()))> state;
};

/// A step moves parameters that have a gradient, and keeps the gradients and the others as they are.
template <class O>
Verdict step_moves_what_has_a_gradient(const O& optimizer) {
  OptimizedPair<O> pair(optimizer);
  pair.step(0);
  const auto before = copies(pair.parameters);
  const auto gradient = pair.gradients(1)[0];
  pair.parameters[0].mutable_grad() = gradient.clone();
  pair.parameters[1].mutable_grad().reset();
  pair.state.step();
  if (torch::equal(pair.parameters[0], before[0])) return failed("a step moves nothing");
  if (!torch::equal(pair.parameters[1], before[1])) return failed("a parameter without a gradient moves");
  if (!torch::equal(pair.parameters[0].grad(), gradient)) return failed("a step changes the gradient");
  return held();
}

/// The rate is each parameter's lr times the factor.
template <class O>
Verdict rate_is_lr_times_factor(const O& optimizer) {
  OptimizedPair<O> whole(optimizer, 0.01, 0.02), scaled(optimizer, 0.04, 0.08);
  scaled.state.set_rate(0.25);
  whole.steps(0, 3);
  scaled.steps(0, 3);
  if (distance(whole.parameters, scaled.parameters) > 1e-12) {
    return failed("a factor of 1/4 on four times the lr is another step");
  }
  OptimizedPair<O> faster(optimizer, 0.01, 0.05);
  faster.steps(0, 3);
  if (!torch::equal(faster.parameters[0], whole.parameters[0])) return failed("another parameter's lr moves this one");
  if (torch::equal(faster.parameters[1], whole.parameters[1])) return failed("a parameter's own lr changes nothing");
  return held();
}

/// At the rate 0 no parameter moves.
template <class O>
Verdict nothing_moves_at_rate_0(const O& optimizer) {
  OptimizedPair<O> pair(optimizer);
  pair.step(0);
  const auto before = copies(pair.parameters);
  pair.state.set_rate(0);
  pair.steps(1, 3);
  return same(copies(pair.parameters), before) ? held() : failed("a step at the rate 0 moves a parameter");
}

/// Restored from its named tensors it goes on to the bit.
template <class O>
Verdict optimizer_resumes(const O& optimizer) {
  OptimizedPair<O> first(optimizer), resumed(optimizer);
  first.steps(0, 3);
  resumed.steps(5, 7);
  const torch::NoGradGuard no_grad;
  const NamedTensors from = first.state.named_tensors();
  NamedTensors to = resumed.state.named_tensors();
  if (from.size() != to.size()) return failed("two runs have different named tensors");
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (from[i].first != to[i].first) return failed("two runs name their tensors differently");
    to[i].second.copy_(from[i].second);
  }
  for (std::size_t p = 0; p < first.parameters.size(); ++p) resumed.parameters[p].copy_(first.parameters[p]);
  first.steps(3, 6);
  resumed.steps(3, 6);
  return same(copies(first.parameters), copies(resumed.parameters))
             ? held()
             : failed("a run restored from named_tensors() is not the uninterrupted one");
}

/// float32 parameters get the steps of float64 ones, to rounding.
template <class O>
Verdict optimizer_takes_both_dtypes(const O& optimizer) {
  OptimizedPair<O> twice(optimizer), single(optimizer, 0.01, 0.01, torch::kFloat32);
  twice.steps(0, 3);
  single.steps(0, 3);
  for (std::size_t p = 0; p < 2; ++p) {
    if (single.parameters[p].scalar_type() != torch::kFloat32) return failed("a parameter gets another dtype");
  }
  return distance(twice.parameters, single.parameters) < 1e-4 ? held() : failed("float32 takes another step");
}

}  // namespace creditlib::detail::laws
