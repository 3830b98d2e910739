#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <creditlib/credit/factored_credit.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/output_gradients.hpp>
#include <creditlib/detail/pass.hpp>
#include <creditlib/error.hpp>
#include <creditlib/loss/inner_product.hpp>
#include <optional>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// The local losses of embed and blocks: from credit, by normalizer and local loss, to the gradients in h_0 and each
/// f_l. Their readout is left for the trainer.
template <class Normalizer, class LocalLoss>
class LocalLosses {
 public:
  LocalLosses(Normalizer normalizer, LocalLoss loss) : normalizer_(std::move(normalizer)), loss_(std::move(loss)) {}

  std::vector<torch::Tensor> normalized(std::vector<torch::Tensor> credits) const {
    for (auto& a : credits) {
      if (a.defined()) a = normalizer_(a).detach();
    }
    return credits;
  }

  /// From normalised credits; that of an embed without parameters is undefined.
  OutputGradients gradients(const torch::Tensor& h_0, const Pass& pass,
                            const std::vector<torch::Tensor>& credits) const {
    OutputGradients from;
    if (credits[0].defined()) from.embed.dense = embed_loss().output_gradient(h_0, credits[0]);
    for (std::size_t l = 0; l + 1 < credits.size(); ++l)
      from.blocks.push_back({gradient(pass.branch(l), credits[l + 1]), {}});
    return from;
  }

  // ---- Credit that is kept as factors ----

  /// Whether normalizer and local loss can keep it so.
  static constexpr bool keeps_factors =
      requires(const Normalizer& normalizer, const LocalLoss& loss, FactoredCredit a, torch::Tensor f) {
    normalizer.factored(a);
    loss.multiple_of_credit(f);
  };

  /// What the local loss's gradient is of the credit, block by block; nothing where it is no multiple for one of them.
  std::optional<std::vector<double>> multiples_of_credit(const Pass& pass) const {
    std::vector<double> multiples;
    for (std::size_t l = 0; l < static_cast<std::size_t>(pass.blocks()); ++l) {
      const auto multiple = loss_.multiple_of_credit(pass.branch(l));
      if (!multiple) return std::nullopt;
      multiples.push_back(*multiple);
    }
    return multiples;
  }

  /// From credits as a source gave them and those multiples. Where factors save no work, and the pass can take it so,
  /// credit is multiplied out.
  OutputGradients gradients(const Pass& pass, const std::vector<FactoredCredit>& credits,
                            const std::vector<double>& multiples) const {
    const auto gradient = [&](const FactoredCredit& a, double multiple) -> OutputGradient {
      if (a.saves_work() || !pass.takes_dense()) return {{}, normalizer_.factored(a).scaled(multiple)};
      return {normalizer_(a.dense()) * multiple, {}};
    };
    OutputGradients from;
    if (credits[0].defined()) from.embed = gradient(credits[0], *embed_loss().multiple_of_credit(pass.branch(0)));
    for (std::size_t l = 0; l + 1 < credits.size(); ++l) from.blocks.push_back(gradient(credits[l + 1], multiples[l]));
    return from;
  }

 private:
  /// dL/df of the local loss, shape of f.
  torch::Tensor gradient(const torch::Tensor& f, const torch::Tensor& a) const {
    if constexpr (requires { loss_.output_gradient(f, a); }) {
      return loss_.output_gradient(f, a);
    } else {
      const torch::AutoGradMode grad(true);
      const auto leaf = f.detach().requires_grad_();
      const torch::Tensor loss = loss_(leaf, a);
      if (loss.dim() != 0)
        fail("The local loss is ", tensor_text(loss), ", expected a scalar: the mean over the batch.");
      if (!loss.requires_grad()) return torch::zeros_like(f);
      return torch::autograd::grad({loss}, {leaf})[0];
    }
  }

  InnerProduct embed_loss() const {
    if constexpr (requires { loss_.embed_loss(); }) {
      return loss_.embed_loss();
    } else {
      return {};
    }
  }

  Normalizer normalizer_;
  LocalLoss loss_;
};

}  // namespace creditlib::detail
