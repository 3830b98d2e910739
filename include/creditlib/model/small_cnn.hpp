// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>
#include <torch/nn/pimpl.h>

#include <concepts>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/detail/image_layout.hpp>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace creditlib {

struct SmallCNNOptions {
  std::int64_t classes = 10;  ///< C
  std::int64_t input = 3;     ///< channels per image
  std::int64_t image = 32;    ///< height and width of an image, a multiple of 4
};

class SmallCNNImpl : public torch::nn::Module {
 public:
  explicit SmallCNNImpl(const SmallCNNOptions& options) : options_(checked(options)) {
    using namespace torch::nn;
    const auto conv = [](std::int64_t from, std::int64_t to) { return Conv2d(Conv2dOptions(from, to, 3).padding(1)); };
    blocks_ = register_module("blocks", ModuleList());
    blocks_->push_back(Sequential(conv(options.input, 32), BatchNorm2d(32), ReLU()));
    blocks_->push_back(Sequential(conv(32, 64), BatchNorm2d(64), ReLU(), MaxPool2d(2)));
    blocks_->push_back(Sequential(conv(64, 128), BatchNorm2d(128), ReLU(), MaxPool2d(2)));
    blocks_->push_back(Sequential(Linear(128 * (options.image / 4) * (options.image / 4), 256), ReLU()));
    out_head_ = register_module("out_head", Linear(256, options.classes));
  }

  const SmallCNNOptions& options() const { return options_; }
  std::int64_t blocks() const { return 4; }
  std::int64_t classes() const { return options_.classes; }
  std::vector<std::int64_t> hidden_shape(std::int64_t l) const {
    const std::int64_t side = options_.image;
    switch (l) {
      case 0: return {options_.input, side, side};
      case 1: return {32, side, side};
      case 2: return {64, side / 2, side / 2};
      case 3: return {128, side / 4, side / 4};
      case 4: return {256};
      default: detail::fail("SmallCNN: there is no h_", l, ", expected 0..", blocks(), ".");
    }
  }

  /// The images themselves, (B, input, image, image).
  torch::Tensor embed(const torch::Tensor& x) {
    if (x.dim() != 4 || x.size(1) != options_.input || x.size(2) != options_.image || x.size(3) != options_.image) {
      detail::fail("SmallCNN: the input is ", detail::shape_text(x.sizes()), ", expected (B, ", options_.input, ", ",
                   options_.image, ", ", options_.image, ") (SmallCNNOptions::input and ::image).");
    }
    return detail::convolution_layout(x);
  }
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) {
    auto* stage = blocks_[static_cast<std::size_t>(l)]->as<torch::nn::SequentialImpl>();
    return stage->forward(l == 3 ? h.flatten(1) : h);
  }
  torch::Tensor join(std::int64_t, const torch::Tensor&, const torch::Tensor& f) { return f; }
  torch::Tensor readout(const torch::Tensor& h) { return out_head_(h); }
  /// The logits, (B, C).
  torch::Tensor forward(const torch::Tensor& x) {
    auto h = embed(x);
    for (std::int64_t l = 0; l < blocks(); ++l) h = block(l, h);
    return readout(h);
  }

  std::vector<torch::Tensor> embed_parameters() const { return {}; }
  std::vector<torch::Tensor> block_parameters(std::int64_t l) const {
    return blocks_->ptr(static_cast<std::size_t>(l))->parameters();
  }
  std::vector<torch::Tensor> readout_parameters() const { return out_head_->parameters(); }

 private:
  static SmallCNNOptions checked(const SmallCNNOptions& options) {
    if (options.classes < 2) detail::fail("SmallCNN: classes is ", options.classes, ", expected at least 2.");
    if (options.input < 1) detail::fail("SmallCNN: input is ", options.input, ", expected at least 1.");
    if (options.image < 4 || options.image % 4 != 0) {
      detail::fail("SmallCNN: image is ", options.image, ", expected a multiple of 4: it is halved twice.");
    }
    return options;
  }

  SmallCNNOptions options_;
  torch::nn::ModuleList blocks_ = nullptr;
  torch::nn::Linear out_head_ = nullptr;
};

/// A small plain convolutional network with BatchNorm: no skip connections, no embed.
///
///     h_0 = x,  h_{l+1} = f_l = block_l(h_l),  logits = out_head(h_4)
///
/// - Blocks: conv 3-32, BN, ReLU | conv 32-64, BN, ReLU, maxpool | conv 64-128, BN, ReLU, maxpool | FC 8192-256, ReLU;
///   all convolutions are 3x3 with bias.
/// - Hidden states: (3, 32, 32), (32, 32, 32), (64, 16, 16), (128, 8, 8), (256).
/// - These sizes are for images of 3x32x32. In general `input` replaces 3, S = `image` replaces 32, and 8 S^2 replaces
///   8192.
/// - Initialization: as in LibTorch, from its global generator.
/// - Parameters, 2.2 million: blocks.<l>.0.* (convolution, FC), blocks.<l>.1.* (BatchNorm), out_head.*.
/// - Throws Error for fewer than 2 classes, an image size that is not a multiple of 4, and an input of another shape.
class SmallCNN : public torch::nn::ModuleHolder<SmallCNNImpl> {
 public:
  explicit SmallCNN(const SmallCNNOptions& options) : ModuleHolder(std::make_shared<SmallCNNImpl>(options)) {}
  /// Holds `module`, or none for nullptr. A template, because otherwise SmallCNN({}) would hold no module.
  template <std::convertible_to<std::shared_ptr<SmallCNNImpl>> Pointer>
  SmallCNN(Pointer module) : ModuleHolder(std::shared_ptr<SmallCNNImpl>(std::move(module))) {}
};

}  // namespace creditlib
