#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/trace.hpp>

#include <memory>
#include <vector>

namespace creditlib::detail {

/// One forward pass cut at every hidden state, on the graph: each block saw a detached h_l, so no graph crosses a block.
struct ForwardPass {
  Trace trace;
  torch::Tensor embedded;             ///< h_0 on the graph of the embed
  std::vector<torch::Tensor> branch;  ///< f_l on the graph of block l
  torch::Tensor logits;               ///< on the graph of the readout
};

inline void check_hidden(const char* whose, std::size_t l, const torch::Tensor& h, std::vector<std::int64_t> shape, std::int64_t batch) {
  shape.insert(shape.begin(), batch);
  if (h.defined() && h.sizes() == torch::IntArrayRef(shape)) return;
  fail(whose, l, " is ", h.defined() ? shape_text(h.sizes()) : "undefined", ", expected ", shape_text(shape), ": hidden_shape(",
       l, ") for each sample of the batch.");
}

inline void check_logits(const torch::Tensor& logits, std::int64_t batch, std::int64_t classes) {
  if (logits.defined() && logits.sizes() == torch::IntArrayRef({batch, classes})) return;
  fail("The model's logits are ", logits.defined() ? shape_text(logits.sizes()) : "undefined", ", expected ",
       shape_text({batch, classes}), ": classes() for each sample of the batch.");
}

/// Runs block l on h, a detached tensor, and says so where it overwrites it.
template <BlockModel Model>
torch::Tensor branch_of(Model& model, std::int64_t l, const torch::Tensor& h) {
  const auto in_place = [&] {
    fail("Block ", l, " changes its input in place, and with it the hidden state h_", l,
         " that credit is for; make its first layer out-of-place (inplace(false)).");
  };
  const auto version = h._version();
  torch::Tensor f;
  try {
    f = model->block(l, h);
  } catch (const c10::Error& error) {  // what LibTorch says of a leaf that pullbacks need
    if (std::string(error.what_without_backtrace()).find("in-place operation") != std::string::npos) in_place();
    throw;
  }
  if (h._version() != version) in_place();
  return f;
}

/// One forward pass. With `pullbacks`, h_0..h_{L-1} are leaves that a gradient can reach too, not h_L alone.
template <BlockModel Model, class Objective>
ForwardPass forward_in_blocks(Model& model, const Objective& objective, const torch::Tensor& x, const torch::Tensor& y, bool pullbacks) {
  const torch::AutoGradMode grad(true);
  const auto blocks = static_cast<std::size_t>(model->blocks());
  const std::int64_t batch = x.size(0);
  ForwardPass pass;
  const auto graph = std::make_shared<StepGraph>();

  pass.embedded = model->embed(x);
  torch::Tensor h = pass.embedded;
  for (std::size_t l = 0; l < blocks; ++l) {
    const auto at = static_cast<std::int64_t>(l);
    check_hidden("The model's h_", l, h, model->hidden_shape(at), batch);
    pass.trace.hidden.push_back(h.detach());
    graph->entered.push_back(h.detach().requires_grad_(pullbacks));
    pass.branch.push_back(branch_of(model, at, graph->entered[l]));
    h = model->join(at, graph->entered[l], pass.branch[l]);
    pass.trace.branch.push_back(pass.branch[l].detach());
    graph->left.push_back(h);
  }
  check_hidden("The model's h_", blocks, h, model->hidden_shape(static_cast<std::int64_t>(blocks)), batch);
  pass.trace.hidden.push_back(h.detach());
  graph->entered.push_back(h.detach().requires_grad_());
  pass.logits = model->readout(graph->entered[blocks]);
  check_logits(pass.logits, batch, model->classes());
  graph->logits = pass.logits;

  const torch::NoGradGuard no_grad;
  pass.trace.input = x;
  pass.trace.target = y;
  pass.trace.logits = pass.logits.detach();
  pass.trace.error = objective.error(pass.trace.logits, y);
  TraceAccess::attach(pass.trace, graph);
  TraceAccess::set_objective(pass.trace, objective);
  return pass;
}

/// The blocks' and the readout's part of the pass again, at other states h'_0..h'_L: what a source with local_inputs trains on.
template <BlockModel Model>
void rerun_blocks(Model& model, const std::vector<torch::Tensor>& states, ForwardPass& pass) {
  const torch::AutoGradMode grad(true);
  const std::size_t blocks = pass.branch.size();
  if (states.size() != blocks + 1) {
    fail("local_inputs gave ", states.size(), " states, expected ", blocks + 1, ": one for each of h_0..h_L.");
  }
  for (std::size_t l = 0; l <= blocks; ++l) {
    check_hidden("The local_inputs' h'_", l, states[l], model->hidden_shape(static_cast<std::int64_t>(l)), pass.embedded.size(0));
    if (l < blocks) pass.branch[l] = branch_of(model, static_cast<std::int64_t>(l), states[l].detach());
  }
  pass.logits = model->readout(states[blocks].detach());
}

}  // namespace creditlib::detail
