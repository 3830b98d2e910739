// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/bind_context.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/trace.hpp>
#include <string>

namespace creditlib::detail {

/// Throws Error at bind if the trainer's objective takes no labels; `who` needs them.
inline void require_labels(const std::string& who, const BindContext& context) {
  if (context.labels) return;
  fail(who,
       " needs a class label for each sample, int64, which the trainer's objective does not take; give the trainer ",
       "one that does, such as CrossEntropy, or another rule.");
}

/// The labels: the target if it is a class index per sample, or per position of logits with positions. Otherwise throws
/// Error; `who` needs them.
inline torch::Tensor labels_of(const std::string& who, const Trace& trace) {
  if (trace.target.scalar_type() == torch::kInt64 && trace.target.dim() == trace.logits.dim() - 1) return trace.target;
  fail(who, " needs a class label for each sample, int64, but the target is ", tensor_text(trace.target), ".");
}

}  // namespace creditlib::detail
