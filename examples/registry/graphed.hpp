// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/any_trainer.hpp>
#include <creditlib/cuda/graphable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#ifdef CREDITLIB_CUDA_GRAPHS
#include <creditlib/cuda/graphed_step.hpp>
#endif

namespace registry {

/// A trainer's step in CUDA graphs.
struct Graphed {
  using Step = std::function<creditlib::StepResult(const torch::Tensor&, const torch::Tensor&)>;

  Step step = {};                            ///< empty if it cannot be
  std::function<std::int64_t()> nodes = {};  ///< of the graph captured last
  std::string why_not = {};
};

/// Of the Own that `any` holds. Throws creditlib::Error for a model that is not on CUDA.
template <class Own>
Graphed graphed([[maybe_unused]] creditlib::AnyTrainer& any) {
  if constexpr (!creditlib::cuda::Graphable<Own>) {
    return {.why_not =
                "this method's steps cannot be captured, since its credit source learns or changes something on the "
                "host"};
  } else {
#ifdef CREDITLIB_CUDA_GRAPHS
    const auto step = std::make_shared<creditlib::cuda::GraphedStep<Own>>(*any.target<Own>());
    return {.step = [step](const auto& x, const auto& y) { return step->step(x, y); },
            .nodes = [step] { return step->nodes(); }};
#else
    return {.why_not =
                "this program was built without a CUDA toolkit; install one of LibTorch's version and build again"};
#endif
  }
}

}  // namespace registry
