// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/network/detail/gradient_ready.hpp>
#include <creditlib/pass/output_gradients.hpp>
#include <creditlib/trace.hpp>
#include <memory>
#include <vector>

namespace creditlib::detail {

/// What a step trains: f_0..f_{L-1} and the logits, detached.
struct PassOutputs {
  std::vector<torch::Tensor> branch;
  torch::Tensor logits;
};

/// One step's forward pass, cut at every hidden state, and its backward. Its classes compute the same numbers:
/// GraphPass by autograd, for any model; by formula ClosedFormPass on the CPU, StackedPass on other devices, and
/// ConstantMemoryPass one block at a time.
class Pass : public TracedPass {
 public:
  /// Runs blocks and readout again, at other states h'_0..h'_L: what a source with local_inputs trains on.
  virtual PassOutputs rerun(const std::vector<torch::Tensor>& states) = 0;

  /// The gradients of these parameters, undefined for one that is frozen or that none reaches. Consumes the pass.
  virtual std::vector<torch::Tensor> gradients(const OutputGradients& from,
                                               const std::vector<torch::Tensor>& parameters,
                                               const GradientReady& ready) = 0;

  /// From now on gradients() leaves out those that come as products with fewer numbers, and factors() has them; passes
  /// that have none do nothing.
  virtual void keep_factors(bool) {}
  /// After gradients(), in the order of these parameters, undefined for those that it gave; empty if there are none.
  virtual std::vector<FactoredGradient> factors(const std::vector<torch::Tensor>&) { return {}; }
};

/// A finished forward pass: what credit sources see of it, and what the trainer continues with.
struct ForwardPass {
  Trace trace;
  std::shared_ptr<Pass> pass;
  torch::Tensor loss = {};  ///< the mean over the batch, in a step
};

}  // namespace creditlib::detail
