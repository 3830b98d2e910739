// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <creditlib/bind_context.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/optim/adamw.hpp>
#include <creditlib/optim/clip.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A credit source's own nets (module holders or shared_ptrs), the AdamW optimizer that trains them, and the norm to
/// which each net's gradients are clipped. Processes that train together have the same nets.
template <class Net>
class OwnNets {
 public:
  OwnNets(std::vector<Net> nets, const BindContext& context, double lr, std::optional<double> clip,
          double weight_decay = 0)
      : nets_(std::move(nets)),
        context_(context),
        clip_(clip),
        groups_(trained_by_net()),
        optimizer_(parameters_, {.lr = lr, .weight_decay = weight_decay}) {}

  std::size_t size() const { return nets_.size(); }
  const Net& operator[](std::size_t i) const { return nets_[i]; }
  /// Net 0's parameters that are trained, then net 1's, …
  const std::vector<torch::Tensor>& parameters() const { return parameters_; }
  /// Running statistics and the like, of all nets.
  std::vector<torch::Tensor> buffers() const {
    std::vector<torch::Tensor> all;
    for (const auto& net : nets_) {
      for (const auto& buffer : net->buffers()) all.push_back(buffer);
    }
    return all;
  }

  /// One descent step on the sum of these scalars, means over `samples`; a net that none of them depends on is left
  /// unchanged.
  void descend(const std::vector<torch::Tensor>& losses, std::int64_t samples) {
    step(torch::autograd::grad(losses, parameters_, {}, /*retain_graph=*/false, /*create_graph=*/false,
                               /*allow_unused=*/true),
         samples);
  }

  /// One step with these gradients of means over `samples`, in the order of parameters(); one without a gradient is left
  /// unchanged.
  void step(std::vector<torch::Tensor> gradients, std::int64_t samples) {
    context_.mean(gradients, samples, parameters_);
    if (clip_) optim::clip_norms(gradients, groups_, *clip_);
    for (std::size_t i = 0; i < gradients.size(); ++i) parameters_[i].mutable_grad() = std::move(gradients[i]);
    optimizer_.step();
  }

  /// Gives buffers() these values; in several processes those of rank 0.
  void set_buffers(const std::vector<torch::Tensor>& values) {
    const torch::NoGradGuard no_grad;
    const auto own = buffers();
    for (std::size_t i = 0; i < own.size(); ++i) torch::Tensor(own[i]).copy_(values[i]);
    if (context_.group->size() > 1 && !own.empty()) context_.group->broadcast(own, 0);
  }

  /// "0.ln.weight", …, "optimizer.mean.0", …
  NamedTensors named_tensors() const {
    NamedTensors named = named_tensors_of(nets_);
    for (auto& entry : prefixed("optimizer", optimizer_.named_tensors())) named.push_back(std::move(entry));
    return named;
  }

  /// Those of net i, and the moments of its parameters.
  std::vector<torch::Tensor> tensors_of(std::size_t i) const {
    auto tensors = nets_[i]->parameters();
    for (const auto& buffer : nets_[i]->buffers()) tensors.push_back(buffer);
    for (const auto parameter : groups_[i]) {
      for (const auto& moment : optimizer_.tensors_of(parameter)) tensors.push_back(moment);
    }
    return tensors;
  }

  static std::vector<torch::Tensor> parameters_of(const std::vector<Net>& nets) {
    std::vector<torch::Tensor> all;
    for (const auto& net : nets) {
      for (const auto& parameter : net->parameters()) all.push_back(parameter);
    }
    return all;
  }
  /// Parameters and buffers.
  static NamedTensors named_tensors_of(const std::vector<Net>& nets) {
    NamedTensors all;
    for (std::size_t i = 0; i < nets.size(); ++i) {
      const auto add = [&](const auto& named) {
        for (const auto& entry : named) all.emplace_back(std::to_string(i) + "." + entry.key(), entry.value());
      };
      add(nets[i]->named_parameters());
      add(nets[i]->named_buffers());
    }
    return all;
  }

 private:
  /// Fills parameters_, without those that are frozen or occur twice; the positions of each net's.
  std::vector<std::vector<std::size_t>> trained_by_net() {
    std::vector<std::vector<std::size_t>> groups;
    for (const auto& net : nets_) {
      auto& group = groups.emplace_back();
      for (const auto& parameter : net->parameters()) {
        const auto is_this = [&](const torch::Tensor& other) { return other.is_same(parameter); };
        if (!parameter.requires_grad() || std::ranges::any_of(parameters_, is_this)) continue;
        group.push_back(parameters_.size());
        parameters_.push_back(parameter);
      }
    }
    return groups;
  }

  std::vector<Net> nets_;
  BindContext context_;
  std::optional<double> clip_;
  std::vector<torch::Tensor> parameters_ = {};
  std::vector<std::vector<std::size_t>> groups_;
  optim::AdamW optimizer_;
};

}  // namespace creditlib::detail
