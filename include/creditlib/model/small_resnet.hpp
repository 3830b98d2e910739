// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/block_module.hpp>
#include <creditlib/model/detail/image_layout.hpp>
#include <cstddef>
#include <cstdint>

namespace creditlib {

struct SmallResNetOptions {
  std::int64_t channels = 64;  ///< channels of every hidden state
  std::int64_t classes = 10;   ///< C
  std::int64_t blocks = 4;     ///< L; 0 is the readout on the stem, for BackpropTrainer alone
  std::int64_t input = 3;      ///< channels per image
  std::int64_t image = 32;     ///< height and width of an image, and of every hidden state
};

/// One residual block, (B, C, H, W) to the same: f = out - h, out = ReLU(h + bn2(conv2(ReLU(bn1(conv1(h)))))).
class SmallResNetBlockImpl : public torch::nn::Module {
 public:
  explicit SmallResNetBlockImpl(std::int64_t channels)
      : conv1(register_module("conv1", convolution(channels, channels))),
        bn1(register_module("bn1", torch::nn::BatchNorm2d(channels))),
        conv2(register_module("conv2", convolution(channels, channels))),
        bn2(register_module("bn2", torch::nn::BatchNorm2d(channels))) {}

  /// 3x3, same size, without a bias, which BatchNorm would cancel.
  static torch::nn::Conv2d convolution(std::int64_t from, std::int64_t to) {
    return torch::nn::Conv2d(torch::nn::Conv2dOptions(from, to, 3).padding(1).bias(false));
  }

  torch::Tensor forward(const torch::Tensor& h) {
    const auto inner = at::relu(bn1(conv1(h)));
    return at::relu(h + bn2(conv2(inner))) - h;
  }

  torch::nn::Conv2d conv1;
  torch::nn::BatchNorm2d bn1;
  torch::nn::Conv2d conv2;
  torch::nn::BatchNorm2d bn2;
};
TORCH_MODULE(SmallResNetBlock);

class SmallResNetImpl : public BlockModule<SmallResNetImpl, SmallResNetOptions> {
 public:
  explicit SmallResNetImpl(const SmallResNetOptions& options) : BlockModule(checked(options)) {
    stem_conv_ = register_embed("stem_conv", SmallResNetBlockImpl::convolution(options.input, options.channels));
    stem_bn_ = register_embed("stem_bn", torch::nn::BatchNorm2d(options.channels));
    for (std::int64_t l = 0; l < options.blocks; ++l) register_block(SmallResNetBlock(options.channels));
    out_head_ = register_readout("out_head", torch::nn::Linear(options.channels, options.classes));
    set_shapes(Shapes(static_cast<std::size_t>(options.blocks) + 1, {options.channels, options.image, options.image}),
               options.classes);
  }

  /// Maps images (B, input, image, image) to (B, channels, image, image).
  torch::Tensor embed(const torch::Tensor& x) {
    const auto input = options().input, image = options().image;
    if (x.dim() != 4 || x.size(1) != input || x.size(2) != image || x.size(3) != image) {
      detail::fail("SmallResNet: the input is ", detail::shape_text(x.sizes()), ", expected (B, ", input, ", ", image,
                   ", ", image, ") (SmallResNetOptions::input and ::image).");
    }
    return at::relu(stem_bn_(stem_conv_(detail::convolution_layout(x))));
  }
  torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) { return h + f; }
  torch::Tensor readout(const torch::Tensor& h) { return out_head_(h.mean({2, 3})); }

 private:
  static SmallResNetOptions checked(const SmallResNetOptions& options) {
    if (options.channels < 1 || options.classes < 1 || options.blocks < 0 || options.input < 1 || options.image < 1) {
      detail::fail("SmallResNet: channels ", options.channels, ", classes ", options.classes, ", blocks ",
                   options.blocks, ", input ", options.input, ", image ", options.image,
                   "; expected at least 1, 1, 0, 1 and 1.");
    }
    return options;
  }

  torch::nn::Conv2d stem_conv_ = nullptr;
  torch::nn::BatchNorm2d stem_bn_ = nullptr;
  torch::nn::Linear out_head_ = nullptr;
};

/// A small residual network of constant width, with BatchNorm.
///
///     h_0 = ReLU(stem_bn(stem_conv(x))),  f_l = out_l - h_l,  out_l = ReLU(h_l + bn2(conv2(ReLU(bn1(conv1(h_l)))))),
///     h_{l+1} = h_l + f_l,  logits = out_head(mean of h_L over its positions)
///
/// - The ReLU after the skip belongs to the block, so it is part of the branch f_l. All convolutions are 3x3 without
///   bias.
/// - Shapes: all hidden states are (B, channels, image, image).
/// - Initialization: as in LibTorch, from its global generator.
/// - Parameters: stem_conv.*, stem_bn.*, blocks.<l>.{conv1,bn1,conv2,bn2}.*, out_head.*.
/// - Throws Error for invalid sizes and for an input of another shape.
using SmallResNet = ModelHolder<SmallResNetImpl>;

}  // namespace creditlib
