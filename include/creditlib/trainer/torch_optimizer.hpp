// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/optim/lbfgs.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize/archive.h>

#include <algorithm>
#include <concepts>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/parameter_parts.hpp>
#include <creditlib/trainer/any_optimizer.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

template <std::derived_from<torch::optim::Optimizer> Optimizer>
std::shared_ptr<torch::optim::Optimizer> shared_optimizer(Optimizer optimizer) {
  return std::make_shared<Optimizer>(std::move(optimizer));
}
template <std::derived_from<torch::optim::Optimizer> Optimizer>
std::shared_ptr<torch::optim::Optimizer> shared_optimizer(std::shared_ptr<Optimizer> optimizer) {
  return optimizer;
}

/// What messages call a tensor that an optimizer updates.
inline std::string parameter_name(const torch::Tensor& parameter, const ParameterParts& parts) {
  for (std::size_t i = 0; i < parts.all.size(); ++i) {
    if (parts.all[i].is_same(parameter)) return parts.names[i];
  }
  return tensor_text(parameter);
}

/// Throws Error unless `optimizer` can be a trainer's: it updates all trained parameters of the model and no others,
/// each once, needs no closure, and the options leave rate and decay to it.
inline void check_torch_optimizer(const std::shared_ptr<torch::optim::Optimizer>& optimizer,
                                  const ParameterParts& parts, const TrainerOptions& options) {
  if (!optimizer) fail("The optimizer is a null pointer, expected a torch::optim::Optimizer.");
  if (dynamic_cast<const torch::optim::LBFGS*>(optimizer.get()) != nullptr) {
    fail(
        "The optimizer is LBFGS, which evaluates the loss several times per step, but a trainer's step has one forward "
        "pass and its gradients need not be those of a loss; use Adam, SGD or another that needs no closure.");
  }
  const TrainerOptions unset;
  if (options.lr != unset.lr || options.weight_decay != unset.weight_decay ||
      !(options.lr_factors == unset.lr_factors) || options.decay_norms_and_biases != unset.decay_norms_and_biases) {
    fail(
        "TrainerOptions: lr, weight_decay, lr_factors or decay_norms_and_biases is set, but the optimizer is one of "
        "torch::optim, whose parameter groups have their own; set them there and leave the options out.");
  }
  std::set<const void*> updated;
  for (const auto& group : std::as_const(*optimizer).param_groups()) {
    for (const auto& parameter : group.params()) {
      if (updated.insert(parameter.unsafeGetTensorImpl()).second) continue;
      fail("Parameter ", parameter_name(parameter, parts),
           " is in the optimizer's parameter groups more than once, so a step would update it several times; layers "
           "share it: make the groups of creditlib::distinct_parameters(*model), which lists it once.");
    }
  }
  for (std::size_t i = 0; i < parts.all.size(); ++i) {
    if (updated.erase(parts.all[i].unsafeGetTensorImpl()) != 0 || !parts.all[i].requires_grad()) continue;
    fail("Parameter ", parts.names[i],
         " is in none of the optimizer's parameter groups, so it would never be trained; add it to one, or freeze it "
         "with "
         "requires_grad_(false).");
  }
  if (!updated.empty()) {
    fail("The optimizer updates ", updated.size(),
         " tensors that are not parameters of the model; make it of creditlib::distinct_parameters(*model).");
  }
}

/// One of LibTorch's own optimizers. Its groups keep their rates: those that they have at each step if `keeps_rates`, so
/// that one of LibTorch's schedulers may set them; otherwise those that they had at first, times the trainer's factor.
class TorchOptimizerState final : public AnyOptimizer {
 public:
  TorchOptimizerState(std::shared_ptr<torch::optim::Optimizer> optimizer, bool keeps_rates)
      : optimizer_(std::move(optimizer)), keeps_rates_(keeps_rates) {
    for (const auto& group : optimizer_->param_groups()) lrs_.push_back(group.options().get_lr());
  }

  void step() override {
    const torch::AutoGradMode grad(true);  // some of LibTorch's optimizers ask for it
    optimizer_->step();
  }
  void set_rate(double factor) override {
    if (keeps_rates_) return;
    auto& groups = optimizer_->param_groups();
    for (std::size_t i = 0; i < lrs_.size(); ++i) groups[i].options().set_lr(lrs_[i] * factor);
  }
  /// That of the first group.
  double lr() const override { return keeps_rates_ ? optimizer_->param_groups()[0].options().get_lr() : lrs_[0]; }
  bool graphable() const override { return false; }

  bool is_serialized() const override { return true; }
  torch::Tensor serialized() const override {
    torch::serialize::OutputArchive archive;
    optimizer_->save(archive);
    std::ostringstream out;
    archive.save_to(out);
    const auto bytes = out.str();
    auto tensor = torch::empty({static_cast<std::int64_t>(bytes.size())}, torch::kUInt8);
    std::copy(bytes.begin(), bytes.end(), tensor.mutable_data_ptr<std::uint8_t>());
    return tensor;
  }
  void deserialize(const torch::Tensor& saved) override {
    const auto before = serialized();
    try {
      read(saved);
    } catch (const std::exception&) {
      read(before);
      throw;
    }
  }

 private:
  void read(const torch::Tensor& saved) {
    const auto bytes = saved.contiguous();
    std::istringstream in(std::string(bytes.data_ptr<std::uint8_t>(), bytes.data_ptr<std::uint8_t>() + bytes.numel()));
    torch::serialize::InputArchive archive;
    archive.load_from(in, parameter_device());
    optimizer_->load(archive);
  }
  torch::Device parameter_device() const { return optimizer_->param_groups()[0].params()[0].device(); }

  std::shared_ptr<torch::optim::Optimizer> optimizer_;
  bool keeps_rates_;
  std::vector<double> lrs_;  ///< of each group, before the factor
};

}  // namespace creditlib::detail
