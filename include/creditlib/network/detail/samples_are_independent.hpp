#pragma once

#include <creditlib/concepts.hpp>

namespace creditlib::detail {

/// Whether no layer of the network mixes samples or draws random numbers, so that several forward passes can run as
/// one batch. Known of models that have a closed form; false for all others.
template <BlockModel Model>
bool samples_are_independent(Model& model) {
  if constexpr (requires { model->closed_form().has_value(); }) {
    return model->closed_form().has_value();
  } else {
    return false;
  }
}

}  // namespace creditlib::detail
