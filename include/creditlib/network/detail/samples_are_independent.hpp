// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>

namespace creditlib::detail {

/// Whether the network is known to have no layer that mixes samples or draws random numbers, so that several forward
/// passes can run as one batch. True for models with a closed form, false for all others.
template <BlockModel Model>
bool samples_are_independent(Model& model) {
  if constexpr (requires { model->closed_form().has_value(); }) {
    return model->closed_form().has_value();
  } else {
    return false;
  }
}

}  // namespace creditlib::detail
