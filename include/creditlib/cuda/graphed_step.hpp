// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/cuda/detail/basic_graphed_step.hpp>
#include <creditlib/cuda/detail/capturing_stream.hpp>
#include <creditlib/cuda/graph_options.hpp>
#include <creditlib/error.hpp>

namespace creditlib::cuda {

/// A trainer's step as a CUDA graph: after a few eager steps it is captured once; from then on a step is one launch.
///
///     cuda::GraphedStep graphed(trainer);
///     for (const auto& [x, y] : batches) const auto result = graphed.step(x, y);    // instead of trainer.step(x, y)
///     trainer.end_epoch();                                                          // everything else is unchanged
///
/// - step(x, y) is equivalent to trainer.step(x, y): it counts in steps(), leaves the step's gradients in .grad(), and
///   calls the observer afterwards, outside the graph.
/// - Its result belongs to the graph and is overwritten by the next step of that batch shape: clone what you keep.
/// - Each batch shape has its own graph; at most GraphOptions::graphs are kept. A new learning rate needs no new graph.
/// - The graphs are discarded and captured anew if parameters have moved, a module has changed between train and eval
///   mode, or the schedule's weights have changed.
/// - The trainer must outlive this object and must not be moved.
/// - Credit sources that learn, see updates, have local inputs or change in credit() are a compile-time error.
/// - Cost: a second copy of a step's temporaries, in a private memory pool.
/// - Throws Error if the model is not on CUDA, or if a step waits for the device or draws random numbers on the host.
template <class Trainer>
class GraphedStep : public detail::BasicGraphedStep<Trainer, detail::CapturingDevice> {
 public:
  explicit GraphedStep(Trainer& trainer, const GraphOptions& options = {})
      : detail::BasicGraphedStep<Trainer, detail::CapturingDevice>(
            trainer, detail::translated([&] { return detail::CapturingDevice(detail::cuda_device(trainer)); }),
            options) {}
};

}  // namespace creditlib::cuda
