// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/data/batches.hpp>
#include <creditlib/diagnostics/finite.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/diagnostics/nudging.hpp>
#include <creditlib/diagnostics/parameter_cosine.hpp>
#include <creditlib/diagnostics/parameter_gradients.hpp>
#include <creditlib/diagnostics/perturbation_correlation.hpp>
#include <creditlib/diagnostics/precision_agreement.hpp>
#include <creditlib/diagnostics/stability.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace support {

using Tensors = std::vector<torch::Tensor>;

/// What diagnostics say of a network in blocks, behind one type, so that programs are written, and compiled, once.
class AnyModel {
 public:
  virtual ~AnyModel() = default;
  virtual std::int64_t blocks() = 0;
  virtual Tensors hidden_states(const torch::Tensor& x) = 0;
  virtual Tensors true_gradients(const torch::Tensor& x, const torch::Tensor& y) = 0;
  virtual Tensors parameter_gradients(const torch::Tensor& x, const torch::Tensor& y) = 0;
  virtual std::optional<std::string> first_not_finite(const torch::Tensor& x) = 0;
  virtual creditlib::diagnostics::ParameterCosine parameter_cosine(const Tensors& rule, const Tensors& backprop) = 0;
  virtual std::vector<creditlib::diagnostics::PerturbationCorrelation> perturbation_correlation(
      const torch::Tensor& x, const torch::Tensor& y, const Tensors& credits,
      const creditlib::diagnostics::PerturbationOptions& options) = 0;
  virtual std::vector<std::vector<creditlib::diagnostics::Nudge>> nudging(const torch::Tensor& x,
                                                                          const torch::Tensor& y,
                                                                          const Tensors& credits) = 0;
  virtual std::vector<creditlib::diagnostics::PrecisionAgreement> precision_agreement(const torch::Tensor& x,
                                                                                      const torch::Tensor& y) = 0;
  virtual creditlib::diagnostics::Measured stability(const std::vector<creditlib::data::Batch>& batches) = 0;
};

template <class Model, class Objective = creditlib::CrossEntropy>
class HeldModel final : public AnyModel {
 public:
  explicit HeldModel(Model model, Objective objective = {})
      : model_(std::move(model)), objective_(std::move(objective)) {}

  std::int64_t blocks() override { return model_->blocks(); }
  Tensors hidden_states(const torch::Tensor& x) override { return creditlib::diagnostics::hidden_states(model_, x); }
  Tensors true_gradients(const torch::Tensor& x, const torch::Tensor& y) override {
    return creditlib::diagnostics::true_gradients(model_, x, y, objective_);
  }
  Tensors parameter_gradients(const torch::Tensor& x, const torch::Tensor& y) override {
    return creditlib::diagnostics::parameter_gradients(model_, x, y, objective_);
  }
  std::optional<std::string> first_not_finite(const torch::Tensor& x) override {
    return creditlib::diagnostics::first_not_finite(model_, x);
  }
  creditlib::diagnostics::ParameterCosine parameter_cosine(const Tensors& rule, const Tensors& backprop) override {
    return creditlib::diagnostics::parameter_cosine(model_, rule, backprop);
  }
  std::vector<creditlib::diagnostics::PerturbationCorrelation> perturbation_correlation(
      const torch::Tensor& x, const torch::Tensor& y, const Tensors& credits,
      const creditlib::diagnostics::PerturbationOptions& options) override {
    return creditlib::diagnostics::perturbation_correlation(model_, x, y, credits, options, objective_);
  }
  std::vector<std::vector<creditlib::diagnostics::Nudge>> nudging(const torch::Tensor& x, const torch::Tensor& y,
                                                                  const Tensors& credits) override {
    return creditlib::diagnostics::nudging(model_, x, y, credits, {}, objective_);
  }
  std::vector<creditlib::diagnostics::PrecisionAgreement> precision_agreement(const torch::Tensor& x,
                                                                              const torch::Tensor& y) override {
    return creditlib::diagnostics::precision_agreement(model_, x, y, objective_);
  }
  creditlib::diagnostics::Measured stability(const std::vector<creditlib::data::Batch>& batches) override {
    return creditlib::diagnostics::stability(model_, batches, {}, objective_);
  }

 private:
  Model model_;
  Objective objective_;
};

}  // namespace support
