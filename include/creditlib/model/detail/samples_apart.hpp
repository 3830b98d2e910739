// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/detail/each_stage.hpp>
#include <string>

namespace creditlib::detail {

/// Runs the example's first sample alone and before another one, stage by stage: its numbers must be the same, or the
/// samples are not in dimension 0. Throws Error, beginning with `whose`, if they are not.
template <class Network>
void check_samples_apart(Network& network, const torch::Tensor& example, const std::string& whose,
                         const StageNames& names) {
  const auto one = example.narrow(0, 0, 1);
  // Another direction, not a shift alone, which a layer norm would take away.
  const auto other = one.is_floating_point() ? one + at::arange(one.numel(), one.options()).cos().view(one.sizes()) + 1
                                             : one.eq(0).to(one.scalar_type());
  auto alone = one, first_of_two = at::cat({one, other});
  const auto same = [](const torch::Tensor& one_run, const torch::Tensor& another) {
    return one_run.sizes() == another.sizes() &&
           at::allclose(one_run.to(torch::kFloat64), another.to(torch::kFloat64), 0.02, 1e-3, /*equal_nan=*/true);
  };
  for_each_stage(network, names, [&](const std::string& stage, const auto& run) {
    const auto before = first_of_two.sizes().vec();
    const torch::Tensor expected = run(alone);
    torch::Tensor both;
    try {
      both = run(first_of_two);
    } catch (const c10::Error& error) {
      if (is_out_of_memory(error)) throw;
      fail(whose, ": ", stage, " takes one sample, but not two, ", shape_text(before), ": ",
           error.what_without_backtrace());
    }
    const bool two = both.dim() > 0 && both.size(0) == 2;
    const bool apart = two && same(both.narrow(0, 0, 1), expected);
    const bool is_random = two && !apart && !same(run(alone), expected);  // it draws noise in eval mode too
    if (!apart && !is_random) {
      fail(whose, ": ", stage,
           " mixes samples: what it gives for a sample in eval mode depends on the other samples of the batch. "
           "Samples are in dimension 0, but LibTorch's attention and recurrent layers have them in dimension 1 "
           "unless told otherwise: transpose the first two dimensions around such a layer, or set batch_first.");
    }
    alone = both.narrow(0, 0, 1);
    first_of_two = both;
  });
}

}  // namespace creditlib::detail
