// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <creditlib/concepts.hpp>
#include <creditlib/credit/credit_point.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/net/credit_net.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/optim/adamw.hpp>
#include <creditlib/optim/clip.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// Shared by the learned credit sources: nets with their optimizer, and the slots that estimates go to.
namespace creditlib::detail {

/// Nets, the Adam optimizer that trains them, and the norm to which each net's gradients are clipped.
class CreditNets {
 public:
  CreditNets(std::vector<CreditNet> nets, double lr, std::optional<double> clip)
      : nets_(std::move(nets)),
        clip_(clip),
        parameters_(parameters_of(nets_)),
        groups_(groups(nets_)),
        optimizer_(parameters_, {.lr = lr, .weight_decay = 0}) {}

  std::size_t size() const { return nets_.size(); }
  const CreditNet& operator[](std::size_t i) const { return nets_[i]; }
  /// Net 0's parameters, then net 1's, …
  const std::vector<torch::Tensor>& parameters() const { return parameters_; }

  /// One descent step on the sum of these scalars; a net that none of them depends on is left unchanged.
  void descend(const std::vector<torch::Tensor>& losses) {
    auto gradients = torch::autograd::grad(losses, parameters_, {}, /*retain_graph=*/false, /*create_graph=*/false,
                                           /*allow_unused=*/true);
    if (clip_) {
      for (const auto& group : groups_) optim::clip_norm(gradients, group, *clip_);
    }
    for (std::size_t i = 0; i < gradients.size(); ++i) parameters_[i].mutable_grad() = std::move(gradients[i]);
    optimizer_.step();
  }

  /// "0.ln.weight", …, "optimizer.mean.0", …
  NamedTensors named_tensors() const {
    NamedTensors named = named_parameters_of(nets_);
    for (auto& entry : prefixed("optimizer", optimizer_.named_tensors())) named.push_back(std::move(entry));
    return named;
  }

  static std::vector<torch::Tensor> parameters_of(const std::vector<CreditNet>& nets) {
    std::vector<torch::Tensor> all;
    for (const auto& net : nets) {
      for (const auto& parameter : net->parameters()) all.push_back(parameter);
    }
    return all;
  }
  static NamedTensors named_parameters_of(const std::vector<CreditNet>& nets) {
    NamedTensors all;
    for (std::size_t i = 0; i < nets.size(); ++i) {
      for (const auto& entry : nets[i]->named_parameters()) {
        all.emplace_back(std::to_string(i) + "." + entry.key(), entry.value());
      }
    }
    return all;
  }

 private:
  static std::vector<std::vector<std::size_t>> groups(const std::vector<CreditNet>& nets) {
    std::vector<std::vector<std::size_t>> groups;
    std::size_t next = 0;
    for (const auto& net : nets) {
      auto& group = groups.emplace_back();
      for (std::size_t i = 0; i < net->parameters().size(); ++i) group.push_back(next++);
    }
    return groups;
  }

  std::vector<CreditNet> nets_;
  std::optional<double> clip_;
  std::vector<torch::Tensor> parameters_;
  std::vector<std::vector<std::size_t>> groups_;  ///< the positions of each net's parameters in parameters_
  optim::AdamW optimizer_;
};

/// The first hidden state with an estimate that is used.
template <BlockModel Model>
std::size_t first_estimate(Model& model, CreditPoint at) {
  return at == CreditPoint::BlockInput || has_embed(model) ? 0 : 1;
}

/// Throws Error if an estimate made at a block's input cannot serve as credit for its output.
inline void check_credit_point(const char* rule, CreditPoint at, const std::vector<std::vector<std::int64_t>>& shapes) {
  if (at == CreditPoint::BlockOutput) return;
  for (std::size_t l = 0; l + 1 < shapes.size(); ++l) {
    if (shapes[l] == shapes[l + 1]) continue;
    fail(rule, ": .at = BlockInput drives block ", l, " with an estimate of the shape of its input, ",
         shape_text(shapes[l]), ", but its output is ", shape_text(shapes[l + 1]),
         "; use BlockOutput with this model.");
  }
}

/// Turns estimates made at h_0..h_L, flat or not, into credits a_0..a_L in the shapes of the hidden states.
template <BlockModel Model>
std::vector<torch::Tensor> as_credits(Model& model, const Trace& trace, CreditPoint at,
                                      std::vector<torch::Tensor> estimates) {
  for (std::size_t l = 0; l < estimates.size(); ++l) {
    if (estimates[l].defined()) estimates[l] = estimates[l].view(trace.hidden[l].sizes());
  }
  if (at == CreditPoint::BlockInput) {
    for (std::size_t l = estimates.size() - 1; l > 0; --l) estimates[l] = estimates[l - 1];
  }
  if (!has_embed(model)) estimates[0].reset();
  return estimates;
}

}  // namespace creditlib::detail
