// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/cuda/detail/graph_cache.hpp>
#include <creditlib/cuda/detail/step_constants.hpp>
#include <creditlib/cuda/graphable.hpp>
#include <creditlib/error.hpp>
#include <creditlib/scope/generators.hpp>
#include <creditlib/trainer/access.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// cuda::GraphedStep without CUDA. Device has a type Graph with replay() and nodes(), and a type Lane, which lane() makes: each batch
/// shape has one. A lane has `eagerly(action)`, which runs the action and returns its result, and `capture(action)`, which
/// returns a std::unique_ptr<Graph> whose replay() repeats what the action would have done on the device; capturing itself
/// runs none of it.
template <class Trainer, class Device>
class BasicGraphedStep {
  using Requirements = std::bool_constant<TrainersCredit<Trainer>::graphable()>;  // fails to compile with the reason

 public:
  BasicGraphedStep(Trainer& trainer, Device device, const cuda::GraphOptions& options)
      : trainer_(&trainer), device_(std::move(device)), constants_(trainer), cache_(options) {}
  BasicGraphedStep(const BasicGraphedStep&) = delete;
  BasicGraphedStep& operator=(const BasicGraphedStep&) = delete;

  /// One training step on the batch x (B, ...), y (B).
  StepResult step(const torch::Tensor& x, const torch::Tensor& y) {
    auto result = translated([&] {
      TrainerAccess::begin_step(*trainer_);  // the rate too, which a replay reads
      if (!TrainerAccess::graphable(*trainer_)) {
        fail(
            "cuda::GraphedStep: the trainer tracks norms or is one of several processes, or its optimizer does not "
            "declare `static constexpr bool "
            "graphable = true`: a CUDA graph would not repeat what it does on the host; use trainer.step.");
      }
      if (!x.defined() || !y.defined()) return TrainerAccess::step(*trainer_, x, y);  // which throws the right error
      return cache_.step(
          BatchKind(x, y), constants_.of(*trainer_), [&] { return device_.lane(); },
          [&](Lane& lane) { return eager(lane, x, y); }, [&](Lane& lane) { return captured(lane, x, y); },
          [&](Captured& step) { return replayed(step, x, y); });
    });
    TrainerAccess::observe(*trainer_, x, y);
    return result;
  }

  std::int64_t graphs() const { return cache_.graphs(); }
  std::int64_t captures() const { return cache_.captures(); }
  /// How many kernels and copies the graph that was captured last has; 0 before there is one.
  std::int64_t nodes() const { return nodes_; }

 private:
  using Lane = typename Device::Lane;

  struct BatchKind {
    BatchKind(const torch::Tensor& x, const torch::Tensor& y)
        : x_sizes(x.sizes().vec()),
          y_sizes(y.sizes().vec()),
          x_dtype(x.scalar_type()),
          y_dtype(y.scalar_type()),
          x_device(x.device()),
          y_device(y.device()) {}
    bool operator==(const BatchKind&) const = default;

    std::vector<std::int64_t> x_sizes, y_sizes;
    torch::Dtype x_dtype, y_dtype;
    torch::Device x_device, y_device;
  };

  /// A step's graph and the tensors that it reads and writes. It must own them all: otherwise their memory could be
  /// reused before the next replay. (The optimizer's and the model's tensors are owned by them permanently.)
  struct Captured {
    torch::Tensor x, y;
    StepResult result;
    RangeFinding finding;
    std::vector<torch::Tensor> gradients;
    std::unique_ptr<typename Device::Graph> graph;
  };

  StepResult eager(Lane& lane, const torch::Tensor& x, const torch::Tensor& y) {
    auto result = lane.eagerly([&] {
      auto own = TrainerAccess::step(*trainer_, x, y);
      TrainerAccess::watch_target(*trainer_);
      return own;
    });
    loss_ = result.loss.options();
    correct_ = result.correct.options();
    return result;
  }

  std::unique_ptr<Captured> captured(Lane& lane, const torch::Tensor& x, const torch::Tensor& y) {
    auto owned = std::make_unique<Captured>();
    auto* const step = owned.get();
    step->x = x.detach().clone();
    step->y = y.detach().clone();
    // Graphs share the memory of their temporaries, so what a step returns is kept elsewhere.
    step->result = {torch::empty({}, loss_), torch::empty({}, correct_)};
    const auto progress = TrainerAccess::progress(*trainer_);
    const auto gradients = present_gradients();
    const auto as_before = [&] {
      TrainerAccess::forget_buffers(*trainer_);
      TrainerAccess::set_progress(*trainer_, progress);
      set_gradients(gradients);
    };
    const HostDraws draws(TrainerAccess::generators(*trainer_));
    TrainerAccess::forget_buffers(*trainer_);  // the eager steps' buffers may be freed while the graph lives
    try {
      step->graph = lane.capture([this, step] {
        const auto of_step = TrainerAccess::step(*trainer_, step->x, step->y);
        step->result.loss.copy_(of_step.loss);
        step->result.correct.copy_(of_step.correct);
        step->finding = TrainerAccess::finding(*trainer_);
      });
      draws.refuse();
    } catch (...) {
      as_before();
      throw;
    }
    step->gradients = present_gradients();
    nodes_ = step->graph->nodes();
    as_before();
    return owned;
  }

  StepResult replayed(Captured& step, const torch::Tensor& x, const torch::Tensor& y) {
    const torch::NoGradGuard no_grad;
    const auto before = TrainerAccess::progress(*trainer_);
    step.x.copy_(x, /*non_blocking=*/true);
    step.y.copy_(y, /*non_blocking=*/true);
    const scope::Drawing drawing;
    step.graph->replay();
    set_gradients(step.gradients);
    TrainerAccess::set_progress(*trainer_, before);
    TrainerAccess::count_step(*trainer_);
    TrainerAccess::watch_target(*trainer_, step.finding);
    return step.result;
  }

  std::vector<torch::Tensor> present_gradients() const {
    std::vector<torch::Tensor> gradients;
    for (const auto& parameter : constants_.parameters()) gradients.push_back(parameter.grad());
    return gradients;
  }
  void set_gradients(const std::vector<torch::Tensor>& gradients) const {
    for (std::size_t i = 0; i < gradients.size(); ++i)
      torch::Tensor(constants_.parameters()[i]).mutable_grad() = gradients[i];
  }

  /// Detects whether a capture has drawn from host generators, the trainer's own and LibTorch's, and restores them.
  class HostDraws {
   public:
    explicit HostDraws(const std::vector<torch::Generator>& own)
        : global_(torch::kCPU), restored_(own), generators_(own) {
      for (auto& global : scope::global_generators(torch::kCPU)) generators_.push_back(std::move(global));
      before_ = scope::states_of(generators_);
    }

    void refuse() const {
      const auto now = scope::states_of(generators_);
      for (std::size_t i = 0; i < now.size(); ++i) {
        if (torch::equal(now[i], before_[i])) continue;
        fail(
            "cuda::GraphedStep: the step draws random numbers on the host (in a layer or a credit source), and a CUDA "
            "graph would repeat those that it was captured with; use trainer.step.");
      }
    }

   private:
    scope::RestoredGlobalGenerators global_;
    scope::RestoredGenerators restored_;
    std::vector<torch::Generator> generators_;
    std::vector<torch::Tensor> before_;
  };

  Trainer* trainer_;
  Device device_;
  StepConstants constants_;
  GraphCache<BatchKind, Captured, Lane> cache_;
  std::int64_t nodes_ = 0;
  torch::TensorOptions loss_, correct_;  ///< of what steps return
};

}  // namespace creditlib::detail
