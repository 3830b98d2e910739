// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/scope/generators.hpp>

namespace creditlib::detail {

/// What `make()` returns, with LibTorch's global generator on the CPU in the state of `generator`: layers that draw
/// their weights from the global one draw from `generator`. The global generator is left as it was.
template <class Make>
auto drawn_from(const torch::Generator& generator, const Make& make) {
  const scope::RestoredGlobalGenerators as_before(torch::kCPU);
  const auto global = scope::global_generators(torch::kCPU);
  scope::set_states(global, scope::states_of({generator}));
  auto made = make();
  scope::set_states({generator}, scope::states_of(global));
  return made;
}

}  // namespace creditlib::detail
