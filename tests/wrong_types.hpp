// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <creditlib/factored_credit.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/progress.hpp>
#include <creditlib/trace.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "test.hpp"

/// A type of each kind that has all that is required, and types that miss one requirement each.
namespace creditlib::test::wrong {

using Tensors = std::vector<torch::Tensor>;

// ---- Models ----

/// Has all that a model needs; only its type is used.
struct Whole : torch::nn::Module {
  torch::Tensor embed(const torch::Tensor& x) { return x; }
  std::int64_t blocks() const { return 1; }
  torch::Tensor block(std::int64_t, const torch::Tensor& h) { return h; }
  torch::Tensor join(std::int64_t, const torch::Tensor&, const torch::Tensor& f) { return f; }
  torch::Tensor readout(const torch::Tensor& h) { return h; }
  torch::Tensor forward(const torch::Tensor& x) { return x; }
  std::int64_t classes() const { return 2; }
  std::vector<std::int64_t> hidden_shape(std::int64_t) const { return {2}; }
  Tensors embed_parameters() const { return {}; }
  Tensors block_parameters(std::int64_t) const { return {}; }
  Tensors readout_parameters() const { return {}; }
};

/// Without the member, as if it were not there.
struct NoEmbed : Whole {
  void embed() = delete;
};
struct NoBlocks : Whole {
  std::int64_t blocks() const = delete;
};
struct NoBlock : Whole {
  void block() = delete;
};
struct NoJoin : Whole {
  void join() = delete;
};
struct NoReadout : Whole {
  void readout() = delete;
};
struct NoForward : Whole {
  void forward() = delete;
};
struct NoClasses : Whole {
  std::int64_t classes() const = delete;
};
struct NoHiddenShape : Whole {
  void hidden_shape() = delete;
};
struct NoEmbedParameters : Whole {
  Tensors embed_parameters() const = delete;
};
struct NoBlockParameters : Whole {
  void block_parameters() = delete;
};
struct NoReadoutParameters : Whole {
  Tensors readout_parameters() const = delete;
};

/// With it, but of another type.
struct EmbedGivesNothing : Whole {
  void embed(const torch::Tensor&) {}
};
struct BlocksInWords : Whole {
  std::string blocks() const { return "one"; }
};
struct BlockWithoutIndex : Whole {
  torch::Tensor block(const torch::Tensor& h) { return h; }
};
struct JoinOfOne : Whole {
  torch::Tensor join(std::int64_t, const torch::Tensor& f) { return f; }
};
struct ReadoutGivesMany : Whole {
  Tensors readout(const torch::Tensor& h) { return {h}; }
};
struct ForwardOfTwo : Whole {
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor&) { return x; }
};
struct ClassesInWords : Whole {
  std::string classes() const { return "two"; }
};
struct ShapeIsANumber : Whole {
  std::int64_t hidden_shape(std::int64_t) const { return 2; }
};
struct OneEmbedParameter : Whole {
  torch::Tensor embed_parameters() const { return {}; }
};
struct BlockParametersOfAll : Whole {
  Tensors block_parameters() const { return {}; }
};
struct OneReadoutParameter : Whole {
  torch::Tensor readout_parameters() const { return {}; }
};
/// Not a module.
struct NotAModule {
  std::int64_t blocks() const { return 1; }
};
/// closed_form() gives something else.
struct ClosedFormInWords : Whole {
  std::string closed_form() { return "none"; }
};

// ---- Credit sources ----

/// Has all that a source needs, and is its own state.
struct Source {
  Tensors credit(auto&, const Trace& trace) const { return trace.hidden; }
};

struct NoCredit {};
struct CreditOfOne {
  torch::Tensor credit(auto&, const Trace& trace) const { return trace.error; }
};
struct CreditWithoutTrace {
  Tensors credit(auto&) const { return {}; }
};
struct BindNotConst {
  Source bind(auto&, const BindContext&) { return {}; }
};
struct BindWithoutContext {
  Source bind(auto&) const { return {}; }
};
struct BindsNoState {
  NoCredit bind(auto&, const BindContext&) const { return {}; }
};
struct NotCopyable : Source {
  NotCopyable() = default;
  NotCopyable(NotCopyable&&) = default;
  NotCopyable& operator=(NotCopyable&&) = default;
};

// Optional members of another signature.
struct LearnsWithoutTrace : Source {
  void learn(auto&) {}
};
struct AfterStepWithoutTrace : Source {
  void after_step(auto&) {}
};
struct LocalInputsOfOne : Source {
  torch::Tensor local_inputs(auto&, const Trace& trace) { return trace.error; }
};
struct FactorsOfOne : Source {
  FactoredCredit factored_credit(auto&, const Trace&) const { return {}; }
};
struct NamedTensorsNotConst : Source {
  NamedTensors named_tensors() { return {}; }
};
struct ErrorOnlyInAMember : Source {
  bool reads_error_only = true;
};
struct PullbackInAMember : Source {
  bool wants_pullback = true;
};
struct PushforwardInAMember : Source {
  bool wants_pushforward = true;
};

// ---- Normalizers, local losses, objectives, schedules ----

struct NormalizerNotConst {
  torch::Tensor operator()(torch::Tensor a) { return a; }
};
struct NormalizerGivesNothing {
  void operator()(torch::Tensor) const {}
};
struct FactoredGivesDense {
  torch::Tensor operator()(torch::Tensor a) const { return a; }
  torch::Tensor factored(const FactoredCredit& a) const { return a.dense(); }
};

struct LossOfOne {
  torch::Tensor operator()(torch::Tensor f) const { return f.sum(); }
};
struct LossInWords {
  std::string operator()(torch::Tensor, torch::Tensor) const { return "none"; }
};
struct Loss {
  torch::Tensor operator()(torch::Tensor f, torch::Tensor a) const { return (f * a).sum(); }
};
struct OutputGradientOfOne : Loss {
  torch::Tensor output_gradient(torch::Tensor a) const { return a; }
};
struct EmbedLossWithoutGradient : Loss {
  LossOfOne embed_loss() const { return {}; }
};
struct MultipleNotOptional : Loss {
  double multiple_of_credit(torch::IntArrayRef) const { return 1; }
};

struct Aim {
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor&) const { return logits.sum(1); }
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor&) const { return logits; }
  void check(const torch::Tensor&, const torch::Tensor&) const {}
};
struct AimWithoutLoss : Aim {
  void loss() const = delete;
};
struct AimWithoutError : Aim {
  void error() const = delete;
};
struct AimWithoutCheck : Aim {
  void check() const = delete;
};
struct CorrectOfOne : Aim {
  torch::Tensor correct(const torch::Tensor& logits) const { return logits.sum(); }
};

struct OneWeight {
  std::array<double, 1> weights(const Progress&) const { return {1}; }
};
struct WeightIsANumber {
  double weights(const Progress&) const { return 1; }
};
struct WeightsWithoutProgress {
  std::array<double, 1> weights() const { return {1}; }
};
struct LearnsIsABool : OneWeight {
  bool learns(const Progress&) const { return true; }
};
struct LearnsOfTwo : OneWeight {
  std::array<bool, 2> learns(const Progress&) const { return {true, true}; }
};

}  // namespace creditlib::test::wrong
