#pragma once

#include <creditlib/cuda/detail/basic_graphed_step.hpp>
#include <creditlib/cuda/detail/capturing_stream.hpp>
#include <creditlib/cuda/graph_options.hpp>
#include <creditlib/error.hpp>

namespace creditlib::cuda {

/// A trainer's step in a CUDA graph: after a few eager steps it is captured once, and from then on a step is one
/// launch.
///
///     cuda::GraphedStep graphed(trainer);
///     for (const auto& [x, y] : batches) const auto result = graphed.step(x, y);    // instead of trainer.step(x, y)
///     trainer.end_epoch();                                                          // and all else as ever
///
/// step(x, y) does what trainer.step(x, y) does: it counts in steps(), leaves the step's gradients in .grad(), and
/// calls the observer afterwards, outside the graph. What it returns belongs to the graph and is written over by the
/// next step of that shape: clone what you keep. Each shape of batch has a graph; at most GraphOptions::graphs are
/// kept. A new learning rate needs no new graph. Where parameters have moved, a module has changed between train and
/// eval mode, or the schedule's weights are others, the graphs are thrown away and made anew.
///
/// The trainer must outlive it and stay where it is. Credit sources that learn, see updates, have local inputs or
/// change in credit() are an error at compile time. Throws Error for a model that is not on CUDA, and where a step
/// waits for the device or draws on the host. Costs the memory of a step's temporaries again, in a private pool.
template <class Trainer>
class GraphedStep : public detail::BasicGraphedStep<Trainer, detail::CapturingStream> {
 public:
  explicit GraphedStep(Trainer& trainer, const GraphOptions& options = {})
      : detail::BasicGraphedStep<Trainer, detail::CapturingStream>(
            trainer, detail::translated([&] { return detail::CapturingStream(detail::cuda_device(trainer)); }),
            options) {}
};

}  // namespace creditlib::cuda
