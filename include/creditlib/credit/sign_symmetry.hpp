// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/detail/layer_feedback.hpp>
#include <creditlib/named_tensors.hpp>

namespace creditlib {

/// Where the magnitudes of sign-concordant feedback come from.
enum class Magnitude {
  Uniform,  ///< one number for all of a weight's elements, sqrt(2 / (fan in + fan out))
  Fixed,    ///< drawn at bind, |U(-b, b)|, b = sqrt(6 / (fan in + fan out))
  Redrawn,  ///< drawn from the same distribution for each batch
};

/// Sign-concordant feedback: on the way down each weight keeps its sign and gets another magnitude M.
///
///     y = W x:    dloss/dx := (M * sign(W))^T dloss/dy,    M >= 0
///
/// - As LayerFA otherwise: at every layer, inside blocks too. Uniform, Fixed and Redrawn are called uSF, frSF and brSF.
/// - Cost: a step of Oracle, and the signs of all weights.
/// - Reads the error and the weights' signs.
/// - Source: Liao, Leibo, Poggio, "How important is weight symmetry in backpropagation?" (arXiv:1510.05067); the
///   uniform magnitude: Xiao, Chen, Liao, Poggio, "Biologically-plausible learning algorithms can scale to large
///   datasets" (arXiv:1811.03567).
struct SignSymmetry {
  using Normalizer = Raw;

  Magnitude magnitude = Magnitude::Uniform;

  struct State : detail::ChainedCredit {
    static constexpr bool data_parallel = true;

    Magnitude magnitude;
    BindContext context;
    std::vector<torch::Tensor> magnitudes;  ///< if Fixed: one for each of model->parameters(), undefined for biases

    template <class Model>
    std::vector<torch::Tensor> transport(Model& model) const {
      return detail::for_each_weight(model->parameters(), [&](std::size_t i, const torch::Tensor& weight) {
        return weight.sign().mul_(magnitude_of(i, weight));
      });
    }
    Reads reads() const { return Reads::Error | Reads::Signs; }
    NamedTensors named_tensors() const { return numbered("magnitude", magnitudes); }

   private:
    torch::Tensor magnitude_of(std::size_t i, const torch::Tensor& weight) const {
      if (magnitude == Magnitude::Fixed) return magnitudes[i];
      if (magnitude == Magnitude::Redrawn) return drawn(weight, context);
      const auto [in, out] = detail::fans_of(weight);
      return torch::full({}, std::sqrt(2 / (in + out)), weight.options());
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    State state{{}, magnitude, context, {}};
    if (magnitude == Magnitude::Fixed) {
      state.magnitudes = detail::for_each_weight(
          model->parameters(), [&](std::size_t, const torch::Tensor& weight) { return drawn(weight, context); });
    }
    return state;
  }

 private:
  static torch::Tensor drawn(const torch::Tensor& weight, const BindContext& context) {
    return context.uniform(weight.sizes(), detail::glorot_bound(weight)).abs_();
  }
};

}  // namespace creditlib
