#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/output_gradients.hpp>
#include <creditlib/error.hpp>
#include <creditlib/trace.hpp>
#include <memory>
#include <vector>

namespace creditlib::detail {

/// One step's forward pass, cut at every hidden state, and its backward. Its classes give the same numbers: GraphPass
/// by autograd, for any model, ClosedFormPass by formula, and ConstantMemoryPass by formula, one block at a time.
class Pass : public TracedPass {
 public:
  /// Runs blocks and readout again, at other states h'_0..h'_L: what a source with local_inputs trains on.
  virtual void rerun(const std::vector<torch::Tensor>& states) = 0;

  /// f_l and the logits of the last run, detached.
  virtual torch::Tensor branch(std::size_t l) const = 0;
  virtual torch::Tensor logits() const = 0;

  /// The gradients of these parameters, undefined for one that is frozen or that none reaches. Uses the pass up.
  virtual std::vector<torch::Tensor> gradients(const OutputGradients& from,
                                               const std::vector<torch::Tensor>& parameters) = 0;

  /// Whether an OutputGradient may be given as factors, and whether it may be given dense.
  virtual bool takes_factors() const = 0;
  virtual bool takes_dense() const = 0;
};

/// A finished forward pass: what credit sources see of it, and what the trainer goes on with.
struct ForwardPass {
  Trace trace;
  std::shared_ptr<Pass> pass;
};

inline void check_hidden(const char* whose, std::size_t l, const torch::Tensor& h, std::vector<std::int64_t> shape,
                         std::int64_t batch) {
  shape.insert(shape.begin(), batch);
  if (h.defined() && h.sizes() == torch::IntArrayRef(shape)) return;
  fail(whose, l, " is ", h.defined() ? shape_text(h.sizes()) : "undefined", ", expected ", shape_text(shape),
       ": hidden_shape(", l, ") for each sample of the batch.");
}

inline void check_logits(const torch::Tensor& logits, std::int64_t batch, std::int64_t classes) {
  if (logits.defined() && logits.sizes() == torch::IntArrayRef({batch, classes})) return;
  fail("The model's logits are ", logits.defined() ? shape_text(logits.sizes()) : "undefined", ", expected ",
       shape_text({batch, classes}), ": classes() for each sample of the batch.");
}

/// Throws Error unless a source's local_inputs are one a hidden state, each of its shape.
template <BlockModel Model>
void check_local_inputs(Model& model, const std::vector<torch::Tensor>& states, std::int64_t batch) {
  const auto expected = static_cast<std::size_t>(model->blocks()) + 1;
  if (states.size() != expected) {
    fail("local_inputs gave ", states.size(), " states, expected ", expected, ": one for each of h_0..h_L.");
  }
  for (std::size_t l = 0; l < states.size(); ++l) {
    check_hidden("The local_inputs' h'_", l, states[l], model->hidden_shape(static_cast<std::int64_t>(l)), batch);
  }
}

}  // namespace creditlib::detail
