// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/trace_of.hpp>

#include "models.hpp"

namespace creditlib::test {

template <class Model, class Objective = CrossEntropy>
Trace trace_of(const Model& model, const Batch& batch, const Objective& objective = {}) {
  return creditlib::trace_of(model, batch.x, batch.y, objective);
}

}  // namespace creditlib::test
