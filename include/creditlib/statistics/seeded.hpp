// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <torch/types.h>

#include <cstdint>

namespace creditlib::statistics {

/// A measurement's own CPU generator: the same seed and stream give the same numbers, another stream gives others.
/// LibTorch's global generator is neither seeded nor used.
inline torch::Generator seeded(std::uint64_t seed, std::uint64_t stream = 0) {
  return at::make_generator<at::CPUGeneratorImpl>(seed + stream * 0x9E3779B97F4A7C15u);
}

/// One direction per sample of `like`, (B, ...), uniform on the unit sphere of the sample's elements, in the shape,
/// dtype and device of `like`. Drawn in float32 on the CPU, so that float32 and float64, CPU and CUDA get the same
/// directions, to rounding.
inline torch::Tensor unit_directions(const torch::Tensor& like, const torch::Generator& generator) {
  const auto drawn =
      at::randn(like.sizes(), generator, torch::TensorOptions(torch::kFloat32)).flatten(1).to(torch::kFloat64);
  return (drawn / drawn.norm(2, 1, /*keepdim=*/true)).view(like.sizes()).to(like.device(), like.scalar_type());
}

}  // namespace creditlib::statistics

namespace creditlib::diagnostics {
using statistics::seeded;
using statistics::unit_directions;
}  // namespace creditlib::diagnostics
