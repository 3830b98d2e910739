// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/assignable.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/stacked.hpp>
#include <creditlib/error.hpp>
#include <creditlib/factored_credit.hpp>
#include <creditlib/loss/inner_product.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/pass/output_gradients.hpp>
#include <creditlib/trainer/requirements.hpp>
#include <optional>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// The credit of one step: normalized and dense, or as factors that the normalizer has not seen yet.
struct StepCredit {
  std::vector<torch::Tensor> dense = {};
  std::vector<FactoredCredit> factors = {};
};

/// Throws Error if a local loss divides by the number of positions and would take features for positions: it sees sizes
/// alone, and reads (B, C, T) as (B, N, d).
template <BlockModel Model, class LocalLoss>
void check_positions(Model& model, const LocalLoss& loss) {
  if constexpr (requires { bool{loss.mean_over_positions}; }) {
    for (std::int64_t l = 0; loss.mean_over_positions && l <= model->blocks(); ++l) {
      const std::vector<std::int64_t> shape = model->hidden_shape(l);
      if (shape.size() == 2 && hidden_layout(model, l) == HiddenLayout::FeaturesFirst) {
        fail("The local loss has mean_over_positions, which takes (B, N, d), but h_", l, " is (B, C, T), (B, ",
             shape[0], ", ", shape[1], "); leave it out, and divide the learning rate instead.");
      }
    }
  }
}

/// The local losses of embed and blocks: from credit to the gradients in h_0 and each f_l.
template <class Normalizer, class LocalLoss>
class LocalLosses {
 public:
  /// Whether normalizer and local loss can work on factors.
  static constexpr bool accept_factors = NormalizesFactors<Normalizer> && HasMultipleOfCredit<LocalLoss>;

  LocalLosses(Normalizer normalizer, LocalLoss loss) : normalizer_(std::move(normalizer)), loss_(std::move(loss)) {}

  std::vector<torch::Tensor> normalized(std::vector<torch::Tensor> credits) const {
    const torch::NoGradGuard no_grad;
    if (normalized_at_once(credits)) return credits;
    for (auto& a : credits) {
      if (a.defined()) a = (*normalizer_)(a).detach();
    }
    return credits;
  }

  /// Whether each block's gradient is a multiple of its credit, so that it can be kept as factors; `shapes` are those of
  /// h_0..h_L for one sample.
  bool scale_credit(const std::vector<std::vector<std::int64_t>>& shapes, std::int64_t batch) const {
    for (std::size_t l = 1; l < shapes.size(); ++l) {
      auto sizes = shapes[l];
      sizes.insert(sizes.begin(), batch);
      if (!multiple_of_credit(sizes)) return false;
    }
    return true;
  }

  const LocalLoss& loss() const { return *loss_; }

  /// The gradients in h_0 and f_0..f_{L-1}; that in h_0 is undefined if the credit has no a_0. Factors stay factors if
  /// that saves work, or if `only_factors`.
  OutputGradients gradients(const StepCredit& credit, const std::vector<torch::Tensor>& hidden,
                            const std::vector<torch::Tensor>& branch, bool only_factors) const {
    if constexpr (accept_factors) {
      if (!credit.factors.empty()) return from_factors(credit.factors, only_factors);
    }
    const auto& credits = credit.dense;
    if (auto from = scaled_at_once(credits, branch)) return std::move(*from);
    OutputGradients from;
    if (credits[0].defined()) from.embed.dense = embed_loss().output_gradient(hidden[0], credits[0]);
    for (std::size_t l = 0; l < branch.size(); ++l) {
      from.blocks.push_back({output_gradient(branch[l], credits[l + 1]), {}});
    }
    return from;
  }

 private:
  // ---- On a device: one kernel for all states instead of one for each ----

  /// Normalizes credits of the same shape as the samples of one tensor, if the normalizer lets that be done and they are
  /// not on the CPU; whether it has.
  bool normalized_at_once(std::vector<torch::Tensor>& credits) const {
    if constexpr (requires { requires Normalizer::samples_of_all_states; }) {
      std::vector<torch::Tensor*> given;
      for (auto& a : credits) {
        if (a.defined()) given.push_back(&a);
      }
      if (given.size() < 2 || given[0]->is_cpu()) return false;
      std::vector<torch::Tensor> parts;
      for (const auto* a : given) {
        if (a->sizes() != given[0]->sizes() || a->scalar_type() != given[0]->scalar_type()) return false;
        parts.push_back(*a);
      }
      const auto normalized = (*normalizer_)(stacked(parts).flatten(0, 1)).detach();
      const auto each = normalized.chunk(static_cast<std::int64_t>(given.size()));
      for (std::size_t i = 0; i < given.size(); ++i) *given[i] = each[i];
      return true;
    } else {
      return false;
    }
  }

  /// The gradients of a local loss that scales each state's credit, if the credits are not on the CPU.
  std::optional<OutputGradients> scaled_at_once(const std::vector<torch::Tensor>& credits,
                                                const std::vector<torch::Tensor>& branch) const {
    if constexpr (HasMultipleOfCredit<LocalLoss>) {
      if (branch.empty() || branch[0].is_cpu()) return std::nullopt;
      std::vector<torch::Tensor> scaled;
      std::vector<double> multiples;
      if (credits[0].defined()) {
        const auto multiple = embed_loss().multiple_of_credit(credits[0].sizes());
        if (!multiple) return std::nullopt;
        scaled.push_back(credits[0]);
        multiples.push_back(*multiple);
      }
      for (std::size_t l = 0; l < branch.size(); ++l) {
        const auto multiple = multiple_of_credit(branch[l].sizes().vec());
        if (!multiple || credits[l + 1].sizes() != branch[l].sizes()) return std::nullopt;
        scaled.push_back(credits[l + 1]);
        multiples.push_back(*multiple);
      }
      const auto differs = [&](double multiple) { return multiple != multiples.front(); };
      if (adjacent(scaled) && std::ranges::none_of(multiples, differs)) {  // they stay adjacent
        scaled = (stacked(scaled) * multiples.front()).unbind();
      } else {
        scaled = at::_foreach_mul(scaled, std::vector<at::Scalar>(multiples.begin(), multiples.end()));
      }
      OutputGradients from;
      std::size_t next = 0;
      if (credits[0].defined()) from.embed.dense = scaled[next++];
      while (next < scaled.size()) from.blocks.push_back({scaled[next++], {}});
      return from;
    } else {
      return std::nullopt;
    }
  }

  OutputGradients from_factors(const std::vector<FactoredCredit>& credits, bool only_factors) const {
    const auto sizes = [](const FactoredCredit& a) { return std::vector{a.left.size(0), a.right.size(0)}; };
    const auto gradient = [&](const FactoredCredit& a, double multiple) -> OutputGradient {
      if (a.saves_work() || only_factors) return {{}, normalizer_->factored(a).scaled(multiple)};
      return {(*normalizer_)(a.dense()) * multiple, {}};
    };
    OutputGradients from;
    if (credits[0].defined()) {
      from.embed = gradient(credits[0], *embed_loss().multiple_of_credit(torch::IntArrayRef(sizes(credits[0]))));
    }
    for (std::size_t l = 1; l < credits.size(); ++l) {
      from.blocks.push_back(gradient(credits[l], *multiple_of_credit(sizes(credits[l]))));
    }
    return from;
  }

  /// dL/df of the local loss, shape of f.
  torch::Tensor output_gradient(const torch::Tensor& f, const torch::Tensor& a) const {
    if constexpr (HasOutputGradient<LocalLoss>) {
      return loss_->output_gradient(f, a);
    } else {
      const torch::AutoGradMode grad(true);
      const auto leaf = f.detach().requires_grad_();
      const torch::Tensor loss = (*loss_)(leaf, a);
      if (loss.dim() != 0) {
        fail("The local loss is ", tensor_text(loss), ", expected a scalar: the mean over the batch.");
      }
      if (!loss.requires_grad()) return torch::zeros_like(f);
      return torch::autograd::grad({loss}, {leaf})[0];
    }
  }

  std::optional<double> multiple_of_credit(const std::vector<std::int64_t>& sizes) const {
    if constexpr (MultipleOfCreditFromSizes<LocalLoss>) {
      return loss_->multiple_of_credit(torch::IntArrayRef(sizes));
    } else {  // the deprecated form, which takes f for its sizes
      return loss_->multiple_of_credit(torch::empty(sizes, torch::TensorOptions(torch::kMeta)));
    }
  }

  InnerProduct embed_loss() const {
    if constexpr (HasEmbedLoss<LocalLoss>) {
      return loss_->embed_loss();
    } else {
      return {};
    }
  }

  Assignable<Normalizer> normalizer_;
  Assignable<LocalLoss> loss_;
};

}  // namespace creditlib::detail
