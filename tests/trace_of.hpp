// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/trainer/passes.hpp>

#include "models.hpp"
#include "test.hpp"

namespace creditlib::test {

/// The Trace that a trainer would show for this batch; with `pullbacks` to a source that asks for them.
template <class Model, class Objective = CrossEntropy>
Trace trace_of(Model& model, const Batch& batch, const Objective& objective = {}, bool pullbacks = false) {
  const detail::Passes<Model> passes(model, TrainerOptions{}, model->parameters());
  return detail::TraceAccess::restricted(passes.preview(model, objective, batch.x, batch.y, pullbacks).trace,
                                         pullbacks);
}

}  // namespace creditlib::test
