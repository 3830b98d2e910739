// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/joint_mean.hpp>
#include <creditlib/detail/sample_range.hpp>
#include <creditlib/detail/sent_to.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <memory>
#include <vector>

namespace creditlib {

/// What `bind` receives: where the source's tensors live, where its random numbers come from, and, for a source that is
/// trained in several processes, what these do together (docs/distributed.md).
struct BindContext {
  /// The model's, at the time the trainer was made.
  torch::Device device;
  torch::Dtype dtype;
  /// On the CPU, seeded by TrainerOptions::seed; each source of a Mix has its own generator. LibTorch's global
  /// generator is never used.
  torch::Generator generator;
  /// On the device, with Draws::Device; otherwise undefined.
  torch::Generator device_generator = {};
  /// Whether the trainer's objective takes class labels, int64, one per sample or position: CrossEntropy does,
  /// SquaredError does not.
  bool labels = true;
  /// The processes that train together; one by default. Each has samples of its own.
  std::shared_ptr<distributed::Group> group = distributed::alone();

  /// Draws from N(0, deviation^2). Numbers are drawn and scaled in float32 on the CPU, then cast and moved, so that
  /// float32 and float64, CPU and CUDA get the same numbers. A device is not waited for.
  torch::Tensor randn(torch::IntArrayRef sizes, double deviation = 1) const {
    const auto drawn = at::randn(sizes, generator, torch::TensorOptions(torch::kFloat32)).mul_(deviation);
    return detail::sent_to(device, dtype, drawn);
  }

  /// Draws from U(-bound, bound), in the same way.
  torch::Tensor uniform(torch::IntArrayRef sizes, double bound = 1) const {
    const auto drawn = torch::empty(sizes, torch::kFloat32).uniform_(-bound, bound, generator);
    return detail::sent_to(device, dtype, drawn);
  }

  /// randn for the numbers of a step, which are drawn on the device with TrainerOptions::draws = Draws::Device.
  torch::Tensor step_randn(torch::IntArrayRef sizes, double deviation = 1) const {
    if (!device_generator.defined()) return randn(sizes, deviation);
    const auto options = torch::TensorOptions(torch::kFloat32).device(device);
    return at::randn(sizes, device_generator, options).mul_(deviation).to(dtype);
  }
  /// uniform in the same way.
  torch::Tensor step_uniform(torch::IntArrayRef sizes, double bound = 1) const {
    if (!device_generator.defined()) return uniform(sizes, bound);
    const auto options = torch::TensorOptions(torch::kFloat32).device(device);
    return torch::empty(sizes, options).uniform_(-bound, bound, device_generator).to(dtype);
  }

  // ---- For sources that learn or draw per sample. One process: nothing is sent. Several: all of them call it. ----

  /// Replaces means over this process' `samples` by the means over the samples of all processes, the same bits on all:
  /// gradients before an update, say. One message.
  ///
  /// - Tensors have the model's dtype and device. One may be undefined, in all processes; with `like`, which has a tensor
  ///   of each one's sizes, in some of them, where it counts as 0.
  /// - Throws Error for another dtype, and where Group::sum does.
  void mean(std::vector<torch::Tensor>& means, std::int64_t samples,
            const std::vector<torch::Tensor>& like = {}) const {
    if (group->size() == 1) return;
    const auto options = torch::TensorOptions(dtype).device(device);
    auto shapes = like.empty() ? means : like;
    for (auto& each : shapes) {
      if (!each.defined()) each = torch::empty({0}, options);
      if (each.scalar_type() == dtype && each.device() == device) continue;
      detail::fail("BindContext::mean: a tensor is ", detail::tensor_text(each), ", expected ",
                   detail::dtype_text(dtype), " on ", device, ", as the model.");
    }
    detail::JointMean joint(*group, samples, options);
    for (std::size_t i = 0; i < means.size(); ++i) joint.add(means[i], shapes[i]);
    std::vector<torch::Tensor> totals;
    joint.finish(totals, [&](std::size_t i, const torch::Tensor& mean) { means[i] = mean; });
  }

  /// Where this process' `samples` are among those of all, in the order of ranks. One small message.
  SampleRange sample_range(std::int64_t samples) const { return detail::sample_range(*group, samples, device); }

  /// step_randn with numbers for each sample, which are dimension `at`: drawn for the samples of all processes, of which
  /// this one keeps its own. A sample gets the same numbers in one process and in many, and no message is sent.
  torch::Tensor sample_randn(torch::IntArrayRef sizes, const SampleRange& range, std::int64_t at = 0,
                             double deviation = 1) const {
    if (sizes.at(static_cast<std::size_t>(at)) != range.count) {
      detail::fail("BindContext::sample_randn: dimension ", at, " of ", detail::shape_text(sizes), " has not the ",
                   range.count, " samples of the range.");
    }
    auto of_all = sizes.vec();
    of_all[static_cast<std::size_t>(at)] = range.all;
    return step_randn(of_all, deviation).narrow(at, range.first, range.count).contiguous();
  }
};

}  // namespace creditlib
