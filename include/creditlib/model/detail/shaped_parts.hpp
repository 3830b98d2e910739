// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/output_positions.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/detail/each_stage.hpp>
#include <creditlib/model/detail/example_shapes.hpp>
#include <creditlib/model/detail/found_layout.hpp>
#include <creditlib/model/detail/layouts.hpp>
#include <creditlib/model/detail/logits_layout.hpp>
#include <creditlib/model/detail/registered_parts.hpp>
#include <creditlib/model/detail/samples_apart.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <creditlib/scope/untouched.hpp>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// The shapes of a network's hidden states and logits, which `Derived`'s constructor says or finds.
template <class Derived>
class ShapedParts : public RegisteredParts {
 public:
  using Shapes = std::vector<std::vector<std::int64_t>>;

  /// C.
  std::int64_t classes() const {
    check_shapes_known("classes()");
    return classes_;
  }
  /// The sizes of h_l without the batch, l = 0..L.
  std::vector<std::int64_t> hidden_shape(std::int64_t l) const {
    check_shapes_known("hidden_shape(l)");
    if (l < 0 || l > blocks()) fail(own_name(), ": there is no h_", l, ", expected 0..", blocks(), ".");
    return hidden_shapes_[static_cast<std::size_t>(l)];
  }

  /// The sizes of the logits without the batch: (C), (N, C), (C, H, W) or (C, D, H, W).
  std::vector<std::int64_t> logits_shape() const {
    check_shapes_known("logits_shape()");
    return logits_shape_;
  }
  /// Which dimension of h_l holds its features, l = 0..L: what set_layout said, or the usual one of its shape.
  HiddenLayout hidden_layout(std::int64_t l) const {
    const auto shape = hidden_shape(l);
    return layouts_.of(l, shape);
  }

 protected:
  /// Says the sizes of h_0..h_L without the batch, and C. Comes after the registrations.
  void set_shapes(Shapes hidden, std::int64_t classes) {
    if (static_cast<std::int64_t>(hidden.size()) != blocks() + 1) {
      fail(own_name(), ": set_shapes got ", hidden.size(), " shapes, but ", blocks(),
           " blocks are registered; expected ", blocks() + 1, ": one for each of h_0..h_L.");
    }
    check_layouts(hidden, {});
    close();
    hidden_shapes_ = std::move(hidden);
    classes_ = classes;
    logits_shape_ = {classes};
  }

  /// The same with logits that have positions, of this shape for one sample.
  void set_shapes(Shapes hidden, std::vector<std::int64_t> logits) {
    const auto dimension = class_dimension(static_cast<std::int64_t>(logits.size()) + 1);
    set_shapes(std::move(hidden), logits.at(static_cast<std::size_t>(dimension - 1)));
    logits_shape_ = std::move(logits);
  }

  /// Says that the number of positions differs between batches: sequences of any length, images of any size. Comes
  /// before the shapes are found, which then have -1 for it.
  void set_any_positions() {
    check_open("any_positions");
    any_positions_ = true;
  }

  /// Says which dimension of the hidden states with positions holds the features: of all of them, or of h_l. Comes
  /// before the shapes are set. Without it (N, d) has its features last, and (C, H, W) and (C, D, H, W) first; a network
  /// with (C, T) has to say so.
  void set_layout(HiddenLayout layout) {
    check_open("layout");
    layouts_.set(layout);
  }
  void set_layout(std::int64_t l, HiddenLayout layout) {
    check_open("layout");
    layouts_.set(l, layout);
  }

  /// Finds the shapes by running an input, (1, ...), through the network, once and in eval mode. Comes after the
  /// registrations, and after everything that the stages use. Modes, running statistics and LibTorch's global generators
  /// are left as they are. Throws Error if the stages do not fit together, if a stage's output for a sample depends on
  /// the other samples of the batch, if the layout of a hidden state has to be said, and if there are no blocks.
  void find_shapes(const torch::Tensor& example, const StageNames& names = {}) {
    if (blocks() == 0) {
      fail(own_name(), ": no blocks are registered; call register_block for each of them before find_shapes.");
    }
    if (!example.defined() || example.dim() == 0 || example.size(0) == 0) {
      fail(own_name(), ": the example is ", tensor_text(example), ", expected an input such as torch::zeros({1, 64}).");
    }
    translated([&] {
      const torch::NoGradGuard no_grad;
      const scope::EvalMode eval(*this);
      const scope::Untouched untouched(*this, example.device());
      run_example(example, names);
    });
  }

 private:
  void check_shapes_known(const char* asked) const {
    if (hidden_shapes_.empty()) {
      fail(own_name(), ": ", asked,
           " is not known yet; end the constructor with find_shapes(example) or set_shapes(hidden, classes).");
    }
  }

  void run_example(const torch::Tensor& example, const StageNames& names) {
    auto& network = static_cast<Derived&>(*this);
    auto found = example_shapes(network, example, own_name(), names);
    check_samples_apart(network, example, own_name(), names);
    check_layouts(found.hidden, names);
    check_readout(found, names);
    classes_ = features(found.logits);
    if (any_positions_) {
      for (std::size_t l = 0; l < found.hidden.size(); ++l) {
        auto& shape = found.hidden[l];
        shape = with_any_positions(shape, layouts_.of(static_cast<std::int64_t>(l), shape));
      }
      found.logits = with_any_positions(found.logits, usual_layout(found.logits));
    }
    close();
    hidden_shapes_ = std::move(found.hidden);
    logits_shape_ = std::move(found.logits);
  }
  /// Logits (B, C, N) are not taken for (B, N, C): their layout is found from the layers, or tried out where it may be
  /// another than the usual one.
  void check_readout(const ExampleShapes& found, const StageNames& names) {
    auto layout = names.logits_layout;
    const bool unusual = found.logits.size() > 2 || reads_over_time();
    if (!layout && unusual && found.logits.size() > 1 && found.hidden.back().size() > 1) {
      layout =
          tried_logits_layout(static_cast<Derived&>(*this), found.last, layouts_.of(blocks(), found.hidden.back()));
    }
    check_logits_layout(found.logits, layout, own_name());
  }
  bool reads_over_time() const {
    return any_in_readout([](const auto& module) { return has_one_dimensional_layers(module); });
  }
  void check_layouts(const Shapes& shapes, const StageNames& names) const {
    if (!names.layout_is_found && !has_one_dimensional_layers(*this)) return;
    const std::size_t first = has_embed() ? 0 : 1;  // without an embed h_0 is the input, which no credit is for
    for (auto l = first; l < shapes.size(); ++l)
      layouts_.check_said(static_cast<std::int64_t>(l), shapes[l], own_name(), names.set_layout);
  }

  Shapes hidden_shapes_;
  std::int64_t classes_ = 0;
  std::vector<std::int64_t> logits_shape_;
  bool any_positions_ = false;
  Layouts layouts_;
};

}  // namespace creditlib::detail
