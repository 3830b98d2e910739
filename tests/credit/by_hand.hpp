// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/bind_context.hpp>
#include <cstdint>

#include "../test.hpp"

/// A credit source bound without a trainer.
namespace creditlib::test {

inline torch::Generator generator(std::uint64_t seed) { return torch::make_generator<at::CPUGeneratorImpl>(seed); }

inline BindContext context(torch::Dtype dtype = torch::kFloat32, std::uint64_t seed = 7) {
  return {torch::kCPU, dtype, generator(seed)};
}

}  // namespace creditlib::test
