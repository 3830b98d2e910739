// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <bit>
#include <creditlib/cuda/graphable.hpp>
#include <creditlib/detail/autocast.hpp>
#include <creditlib/trainer/access.hpp>
#include <cstdint>
#include <memory>
#include <vector>

namespace creditlib::detail {

/// The values that a captured step treats as constants although a program can change them: the addresses of parameters,
/// buffers and the credit sources' tensors, which parameters are trained, each module's train or eval mode, the
/// schedule's weights, which sources learn, and whether autocast is on and in which dtype.
class StepConstants {
 public:
  template <class Trainer>
  explicit StepConstants(const Trainer& trainer)
      : parameters_(trainer.model()->parameters()),
        buffers_(trainer.model()->buffers()),
        modules_(trainer.model()->modules()) {}

  /// The model's parameters, in the order of parameters().
  const std::vector<torch::Tensor>& parameters() const { return parameters_; }

  /// The present values, as numbers to compare; valid until the next call.
  template <class Trainer>
  const std::vector<std::uint64_t>& of(const Trainer& trainer) {
    present_.clear();
    for (const auto& parameter : parameters_) {
      add_place(parameter);
      present_.push_back(parameter.requires_grad());
    }
    for (const auto& buffer : buffers_) add_place(buffer);
    for (const auto& tensor : TrainersCredit<Trainer>::tensors(trainer)) add_place(tensor);
    for (const auto& module : modules_) present_.push_back(module->is_training());
    const auto device = parameters_.front().device();
    const bool autocast = autocast_is_on(device);
    present_.push_back(autocast);
    if (autocast) present_.push_back(static_cast<std::uint64_t>(at::autocast::get_autocast_dtype(device.type())));
    if constexpr (requires { trainer.weights(); }) {
      for (const double weight : trainer.weights()) present_.push_back(std::bit_cast<std::uint64_t>(weight));
      for (const bool learns : TrainerAccess::learns(trainer)) present_.push_back(learns);
    }
    return present_;
  }

 private:
  void add_place(const torch::Tensor& tensor) {
    present_.push_back(tensor.defined() ? reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()) : 0);
  }

  std::vector<torch::Tensor> parameters_, buffers_;
  std::vector<std::shared_ptr<torch::nn::Module>> modules_;
  std::vector<std::uint64_t> present_;
};

}  // namespace creditlib::detail
