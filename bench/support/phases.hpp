// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/record_function.h>
#include <torch/types.h>

#include <array>
#include <chrono>
#include <creditlib/bind_context.hpp>
#include <creditlib/loss/inner_product.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/trace.hpp>
#include <optional>
#include <utility>

namespace bench {

/// What a step spends its time on, in its order:
///
///   Forward    from the start of the step to the first call of the objective
///   Credit     to the last call of the normalizer or the local loss: the error, credit and, for sources that train at
///              other states, the second run of the blocks; in back-propagation the error alone
///   Learning   to the end of the source's learn()
///   Backward   to the optimiser's kernel: all gradients, and clipping
///   Optimiser  the kernel (the last aten::_fused_adam… or aten::_fused_sgd… of the step)
///   Rest       to the end: the source's after_step, the step's loss and how many were right
enum class Phase { Forward, Credit, Learning, Backward, Optimiser, Rest };
inline constexpr std::array<const char*, 6> phase_names{"forward",  "credit",    "learning",
                                                        "backward", "optimiser", "rest"};
using Seconds = std::array<double, phase_names.size()>;

/// Notes when the phases of a step end, while a step is watched. On a device each note waits for it.
class Timeline {
 public:
  void start(torch::Device device);
  /// The seconds of each phase since start().
  Seconds stop();

  /// The phase ends now; said again, it ends then.
  void ends(Phase phase) {
    if (on_) note(phase);
  }
  /// The phase ends now, unless it has ended.
  void first_ends(Phase phase) {
    if (on_ && !ends_[static_cast<std::size_t>(phase)]) note(phase);
  }

 private:
  using Time = std::chrono::steady_clock::time_point;

  void note(Phase phase) { ends_[static_cast<std::size_t>(phase)] = now(); }
  Time now() const;

  bool on_ = false;
  torch::Device device_ = torch::kCPU;
  Time started_;
  std::array<std::optional<Time>, phase_names.size()> ends_;
  at::CallbackHandle watching_ = at::INVALID_CALLBACK_HANDLE;
};

inline Timeline timeline;

/// Cross-entropy that tells the timeline when it is asked.
struct MarkedCrossEntropy : creditlib::CrossEntropy {
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    timeline.first_ends(Phase::Forward);
    return CrossEntropy::loss(logits, target);
  }
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& target) const {
    timeline.first_ends(Phase::Forward);
    auto e = CrossEntropy::error(logits, target);
    timeline.ends(Phase::Credit);
    return e;
  }
};

/// RowRms that tells the timeline when it is done.
struct MarkedRowRms : creditlib::RowRms {
  torch::Tensor operator()(const torch::Tensor& a) const { return marked(RowRms::operator()(a)); }
  creditlib::FactoredCredit factored(const creditlib::FactoredCredit& a) const { return marked(RowRms::factored(a)); }

 private:
  template <class Credit>
  static Credit marked(Credit credit) {
    timeline.ends(Phase::Credit);
    return credit;
  }
};

/// The inner product that tells the timeline when a gradient of it is done.
struct MarkedInnerProduct : creditlib::InnerProduct {
  torch::Tensor output_gradient(const torch::Tensor& f, const torch::Tensor& a) const {
    auto gradient = InnerProduct::output_gradient(f, a);
    timeline.ends(Phase::Credit);
    return gradient;
  }
};

/// A source's run state whose learning tells the timeline when it ends.
template <class State>
struct MarkedState : State {
  explicit MarkedState(State state) : State(std::move(state)) {}

  template <class Model>
  void learn(Model& model, const creditlib::Trace& trace) {
    State::learn(model, trace);
    timeline.ends(Phase::Learning);
  }
};

/// A source with such a state.
template <class Source>
struct MarkedSource {
  Source source;

  template <class Model>
  MarkedState<typename Source::State> bind(Model& model, const creditlib::BindContext& context) const {
    return MarkedState<typename Source::State>(source.bind(model, context));
  }
};

}  // namespace bench
