// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>
#include <torch/utils.h>

#include <creditlib/data/batches.hpp>
#include <creditlib/statistics/seeded.hpp>
#include <cstdint>

#include "toy_lq/settings.hpp"

namespace toy_lq {

/// States x ~ N(0, 1) and targets y ~ N(0, deviation^2), fresh each time. The dynamics' noise comes from LibTorch's
/// global generator, which is seeded anew for each batch: the library puts it back after what must not be seen.
class Samples {
 public:
  Samples(const Settings& s, std::uint64_t stream)
      : s_(s), generator_(creditlib::diagnostics::seeded(static_cast<std::uint64_t>(s.seed), stream)) {}

  creditlib::data::Batch next(std::int64_t n) {
    const torch::TensorOptions options(torch::kFloat32);
    torch::manual_seed(static_cast<std::uint64_t>(
        torch::randint(0, std::int64_t{1} << 53, {1}, generator_, torch::kInt64).item<std::int64_t>()));
    auto x = at::randn({n, s_.d}, generator_, options);
    return {x, at::randn({n, s_.outputs}, generator_, options) * s_.target_deviation};
  }

  /// What comes next depends on, for checkpoints.
  torch::Tensor state() const { return generator_.get_state(); }
  void load(const torch::Tensor& state) { generator_.set_state(state); }

 private:
  const Settings& s_;
  torch::Generator generator_;
};

}  // namespace toy_lq
