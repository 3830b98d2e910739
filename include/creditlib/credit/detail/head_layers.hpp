// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <cmath>
#include <creditlib/credit/detail/head_view.hpp>
#include <creditlib/credit/head_input.hpp>
#include <cstdint>
#include <utility>
#include <vector>

/// The layers of the library's heads.
namespace creditlib::detail {

/// PyTorch's start of a layer's weights and biases.
inline torch::Tensor drawn_for(std::int64_t fan_in, const std::vector<std::int64_t>& sizes) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return torch::empty(sizes).uniform_(-bound, bound);
}

/// A number for each class from a hidden state: a linear layer on the rows of a HeadView, its output as logits.
class ClassScoresImpl : public torch::nn::Module {
 public:
  ClassScoresImpl(HeadView view, std::int64_t classes, bool with_bias)
      : weight(register_parameter("weight", drawn_for(view.width(), {classes, view.width()}))), view_(std::move(view)) {
    if (with_bias) bias = register_parameter("bias", drawn_for(view_.width(), {classes}));
  }

  torch::Tensor forward(const torch::Tensor& h) const {
    return view_.logits(at::linear(view_.rows(h), weight, bias), h);
  }

  torch::Tensor weight, bias;

 private:
  HeadView view_;
};
TORCH_MODULE(ClassScores);

/// A layer without bias that keeps the shape of a hidden state: a convolution of kernel 3 if the features come first,
/// (C, T), (C, H, W) or (C, D, H, W), otherwise a linear layer, the same at every position.
class SameShapeLayerImpl : public torch::nn::Module {
 public:
  explicit SameShapeLayerImpl(const HeadInput& input) {
    const auto features = input.features();
    std::vector<std::int64_t> sizes{features, features};
    std::int64_t fan_in = features;
    if (input.layout == HiddenLayout::FeaturesFirst) {
      for (std::size_t i = 1; i < input.shape.size(); ++i) {
        sizes.push_back(3);
        fan_in *= 3;
      }
    }
    weight = register_parameter("weight", drawn_for(fan_in, sizes));
  }

  torch::Tensor forward(const torch::Tensor& h) const {
    if (weight.dim() == 2) return at::linear(h, weight);
    const std::vector<std::int64_t> ones(static_cast<std::size_t>(weight.dim()) - 2, 1), zeros(ones.size(), 0);
    return at::convolution(h, weight, {}, /*stride=*/ones, /*padding=*/ones, /*dilation=*/ones, /*transposed=*/false,
                           zeros, /*groups=*/1);
  }

  torch::Tensor weight;
};
TORCH_MODULE(SameShapeLayer);

}  // namespace creditlib::detail
