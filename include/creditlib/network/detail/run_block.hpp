// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/shape.hpp>
#include <cstdint>
#include <string>
#include <vector>

/// Runs parts of a network and checks what they return.
namespace creditlib::detail {

/// Runs one part of a network on h. An exception of LibTorch's gets a sentence with the cure if it is one of two common
/// mistakes: BatchNorm in train mode with one value per channel, and an in-place change of a leaf (`in_place`). Otherwise
/// it becomes an Error that names the part, `name()`, and what it was given.
template <class Run, class Name, class InPlace>
torch::Tensor run_part(const torch::Tensor& h, const Run& run, const Name& name, const InPlace& in_place) {
  const auto with_cures = [&]() -> torch::Tensor {
    try {
      return run();
    } catch (const c10::Error& error) {
      const std::string said = error.what_without_backtrace();
      if (said.find("in-place operation") != std::string::npos) in_place();
      if (said.find("Expected more than 1 value per channel when training") != std::string::npos) {
        fail(name(),
             ": BatchNorm in train mode needs more than one value per channel, but this batch gives it one; use a "
             "larger batch (a short last batch is left out with drop_last), or put the model in eval mode.");
      }
      throw;
    }
  };
  return translated(with_cures, [&] { return c10::str(name(), " cannot take ", tensor_text(h), ": "); });
}
inline constexpr auto nothing_in_place = [] {};

/// h_0 from the batch.
template <BlockModel Model>
torch::Tensor embedded(Model& model, const torch::Tensor& x) {
  const auto run = [&]() -> torch::Tensor { return model->embed(x); };
  if (x.dim() != 1) return run_part(x, run, [] { return "The embed"; }, nothing_in_place);
  return translated(run, [&] {
    return c10::str("The batch x is ", tensor_text(x), ", which the model does not take; samples are in dimension 0, ",
                    "so for one sample use x.unsqueeze(0): ");
  });
}

inline std::string block_name(std::int64_t l) { return "Block " + std::to_string(l); }

/// f_l from h_l. Throws Error if the block modifies h in place.
template <BlockModel Model>
torch::Tensor branch_of(Model& model, std::int64_t l, const torch::Tensor& h) {
  const auto in_place = [&] {
    fail("Block ", l, " changes its input in place, and with it the hidden state h_", l,
         " that credit is for; make its first layer out-of-place (inplace(false)).");
  };
  const auto version = h._version();
  const auto f =
      run_part(h, [&]() -> torch::Tensor { return model->block(l, h); }, [&] { return block_name(l); }, in_place);
  if (h._version() != version) in_place();
  return f;
}

/// The logits from h_L.
template <BlockModel Model>
torch::Tensor logits_of(Model& model, const torch::Tensor& h) {
  return run_part(
      h, [&]() -> torch::Tensor { return model->readout(h); }, [] { return "The readout"; }, nothing_in_place);
}

/// h_{l+1} from h_l and f_l.
template <BlockModel Model>
torch::Tensor join_of(Model& model, std::int64_t l, const torch::Tensor& h, const torch::Tensor& f) {
  return run_part(
      f, [&]() -> torch::Tensor { return model->join(l, h, f); },
      [&] { return c10::str("The join of block ", l, ", of h_", l, " ", tensor_text(h), ","); }, nothing_in_place);
}

/// The same; throws Error if the model's join modifies one of them in place.
template <BlockModel Model>
torch::Tensor joined(Model& model, std::int64_t l, const torch::Tensor& h, const torch::Tensor& f) {
  const auto before = h._version() + f._version();
  torch::Tensor next = join_of(model, l, h, f);
  if (h._version() + f._version() != before)
    fail("join changes the hidden state h_", l, " or the block's output f_", l, " in place; return a new tensor.");
  return next;
}

/// Whether a batch has these sizes; -1 stands for any number.
inline bool fits(torch::IntArrayRef sizes, const std::vector<std::int64_t>& expected) {
  return std::equal(sizes.begin(), sizes.end(), expected.begin(), expected.end(),
                    [](std::int64_t size, std::int64_t wanted) { return wanted < 0 || size == wanted; });
}

/// What lets a model take batches of several sizes.
inline constexpr const char* any_positions_cure =
    "make the model with .any_positions = true (a BlockModule of your own calls set_any_positions())";

[[noreturn]] inline void refuse_samples(const char* whose, std::int64_t l, const torch::Tensor& h,
                                        const std::vector<std::int64_t>& expected, const std::string& cure = {}) {
  fail(whose, l, " is ", h.defined() ? shape_text(h.sizes()) : "undefined", ", expected ", shape_text(expected),
       ": hidden_shape(", l, ") for each sample of the batch", cure, ".");
}

/// The sizes of h_l for a batch.
template <BlockModel Model>
std::vector<std::int64_t> hidden_sizes(Model& model, std::int64_t l, std::int64_t batch) {
  auto sizes = model->hidden_shape(l);
  sizes.insert(sizes.begin(), batch);
  return sizes;
}

/// Throws Error unless the model's h_l is as the model says.
template <BlockModel Model>
void check_hidden(Model& model, std::int64_t l, const torch::Tensor& h, std::int64_t batch) {
  const auto expected = hidden_sizes(model, l, batch);
  if (h.defined() && fits(h.sizes(), expected)) return;
  const bool positions = h.defined() && h.sizes().size() == expected.size() && expected.size() > 2;
  refuse_samples(
      "The model's h_", l, h, expected,
      positions ? c10::str("; for sequences of any length or images of any size, ", any_positions_cure) : "");
}

/// `shape` is that of the logits for one sample.
inline void check_logits(const torch::Tensor& logits, std::int64_t batch, std::vector<std::int64_t> shape) {
  shape.insert(shape.begin(), batch);
  if (logits.defined() && fits(logits.sizes(), shape)) return;
  fail("The model's logits are ", logits.defined() ? shape_text(logits.sizes()) : "undefined", ", expected ",
       shape_text(shape),
       shape.size() == 2 ? ": classes() for each sample of the batch."
                         : ": logits_shape() for each sample of the batch.");
}

/// The objective's check of the target, once more with the true logits, where their number of positions differs between
/// batches: before the forward pass the target alone said it. Without it one position would be broadcast to all.
template <BlockModel Model, class Objective>
void check_target_positions(Model& model, const Objective& objective, const torch::Tensor& logits,
                            const torch::Tensor& y) {
  const auto shape = logits_shape(model);
  if (std::find(shape.begin(), shape.end(), -1) != shape.end()) objective.check(logits, y);
}

/// Throws Error unless a source's local_inputs are one per hidden state, each of its shape.
template <BlockModel Model>
void check_local_inputs(Model& model, const std::vector<torch::Tensor>& states, std::int64_t batch) {
  const auto expected = static_cast<std::size_t>(model->blocks()) + 1;
  if (states.size() != expected) {
    fail("local_inputs gave ", states.size(), " states, expected ", expected, ": one for each of h_0..h_L.");
  }
  for (std::size_t i = 0; i < states.size(); ++i) {
    const auto l = static_cast<std::int64_t>(i);
    const auto sizes = hidden_sizes(model, l, batch);
    if (states[i].defined() && fits(states[i].sizes(), sizes)) continue;
    refuse_samples("The local_inputs' h'_", l, states[i], sizes);
  }
}

}  // namespace creditlib::detail
