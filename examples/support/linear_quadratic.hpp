// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <torch/types.h>

#include <cmath>
#include <creditlib/data/detail/rank_rows.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/block_module.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace support {

struct LinearQuadraticOptions {
  std::int64_t width = 64;    ///< d
  std::int64_t blocks = 12;   ///< L
  std::int64_t outputs = 10;  ///< C
  double noise = 0.03;        ///< the deviation of each step's noise
  /// A_l with orthonormal columns, so that |A_l h| = |h|; else N(0, 1)/sqrt(d) as drawn.
  bool orthogonal = true;
  std::int64_t seed = 42;
  /// The processes that train together, and the samples of a training batch in all of them.
  std::shared_ptr<creditlib::distributed::Group> group = creditlib::distributed::alone();
  std::int64_t batch = 256;
};

/// Noisy linear dynamics with a linear readout, as a network in blocks of which nothing is trained.
///
///     h_0 = x,    h_{l+1} = A_l h_l + noise xi_l,  xi_l ~ N(0, 1),    outputs = W h_L
///
/// With the cost 1/2 |W h_L - y|^2 (SquaredError) and e = W h_L - y the costate, dcost/dh_l, is known without
/// back-propagation: lambda_L = W^T e, lambda_l = A_l^T lambda_{l+1}.
///
/// A_l and W (N(0, 1)/sqrt(d)) come from a generator of their own; they are parameters that need no gradient, so that
/// trainers take the model and leave it as it is. A forward pass draws xi from LibTorch's global generator on the CPU,
/// as Dropout does its masks, in any mode: what the library runs twice for a comparison has the same noise twice. In
/// train mode, a process that has rows of its own of a batch draws for the whole batch, so that a sample's noise is
/// that of one process. There is no embed.
class LinearQuadraticImpl : public creditlib::BlockModule<LinearQuadraticImpl, LinearQuadraticOptions> {
 public:
  explicit LinearQuadraticImpl(const LinearQuadraticOptions& options) : BlockModule(options) {
    if (options.width < 1 || options.blocks < 1 || options.outputs < 1 || !(options.noise >= 0)) {
      creditlib::detail::fail("LinearQuadratic: width ", options.width, ", blocks ", options.blocks, ", outputs ",
                              options.outputs, ", noise ", options.noise,
                              ", expected sizes of at least 1 and noise of at least 0.");
    }
    const auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<std::uint64_t>(options.seed));
    const auto draw = [&](std::int64_t rows) {
      return at::randn({rows, options.width}, generator, torch::TensorOptions(torch::kFloat32));
    };
    for (std::int64_t l = 0; l < options.blocks; ++l) {
      auto A = draw(options.width);
      if (options.orthogonal) {
        // With the diagonal of R made positive, Q is uniform over all orthogonal matrices.
        const auto [Q, R] = at::linalg_qr(A.to(torch::kFloat64));
        A = (Q * R.diagonal().sign()).to(torch::kFloat32);
      } else {
        A = A / std::sqrt(static_cast<double>(options.width));
      }
      dynamics_.push_back(register_block(l, "dynamics_" + std::to_string(l), A, /*requires_grad=*/false));
    }
    readout_ = register_readout("readout", draw(options.outputs) / std::sqrt(static_cast<double>(options.width)),
                                /*requires_grad=*/false);
    set_shapes(Shapes(dynamics_.size() + 1, {options.width}), options.outputs);
  }

  torch::Tensor block(std::int64_t l, const torch::Tensor& h) {
    const auto moved = h.mm(dynamics_.at(static_cast<std::size_t>(l)).t());
    // Drawn in one dtype, so that a float64 run has the noise of the float32 one.
    return moved + noise_of(h.size(0)).mul_(options().noise).to(h.device(), h.scalar_type());
  }
  torch::Tensor readout(const torch::Tensor& h) { return h.mm(readout_.t()); }

  /// lambda_0..lambda_L, each (B, d), for errors e = W h_L - y, (B, C); in float64.
  std::vector<torch::Tensor> costates(const torch::Tensor& e) const {
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> costates(dynamics_.size() + 1);
    costates.back() = e.to(torch::kFloat64).mm(readout_.to(torch::kFloat64));
    for (std::size_t l = dynamics_.size(); l-- > 0;) costates[l] = costates[l + 1].mm(dynamics_[l].to(torch::kFloat64));
    return costates;
  }

 private:
  torch::Tensor noise_of(std::int64_t samples) const {
    const bool own = is_training() && options().group->size() > 1;
    const auto drawn = torch::randn({own ? options().batch : samples, options().width}, torch::kFloat32);
    if (!own) return drawn;
    return drawn.narrow(0, creditlib::detail::own_rows(options().batch, *options().group).begin, samples);
  }

  std::vector<torch::Tensor> dynamics_;
  torch::Tensor readout_;
};

using LinearQuadratic = creditlib::ModelHolder<LinearQuadraticImpl>;

}  // namespace support
