// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/block_module.hpp>
#include <creditlib/model/detail/image_layout.hpp>
#include <cstdint>

namespace creditlib {

struct SmallCNNOptions {
  std::int64_t classes = 10;  ///< C
  std::int64_t input = 3;     ///< channels per image
  std::int64_t image = 32;    ///< height and width of an image, a multiple of 4
};

class SmallCNNImpl : public BlockModule<SmallCNNImpl, SmallCNNOptions> {
 public:
  explicit SmallCNNImpl(const SmallCNNOptions& options) : BlockModule(checked(options)) {
    using namespace torch::nn;
    const auto conv = [](std::int64_t from, std::int64_t to) { return Conv2d(Conv2dOptions(from, to, 3).padding(1)); };
    const auto side = options.image;
    register_block(Sequential(conv(options.input, 32), BatchNorm2d(32), ReLU()));
    register_block(Sequential(conv(32, 64), BatchNorm2d(64), ReLU(), MaxPool2d(2)));
    register_block(Sequential(conv(64, 128), BatchNorm2d(128), ReLU(), MaxPool2d(2)));
    register_block(Sequential(Linear(128 * (side / 4) * (side / 4), 256), ReLU()));
    out_head_ = register_readout("out_head", Linear(256, options.classes));
    set_shapes(
        {{options.input, side, side}, {32, side, side}, {64, side / 2, side / 2}, {128, side / 4, side / 4}, {256}},
        options.classes);
  }

  /// The images themselves, (B, input, image, image).
  torch::Tensor embed(const torch::Tensor& x) {
    const auto input = options().input, image = options().image;
    if (x.dim() != 4 || x.size(1) != input || x.size(2) != image || x.size(3) != image) {
      detail::fail("SmallCNN: the input is ", detail::shape_text(x.sizes()), ", expected (B, ", input, ", ", image,
                   ", ", image, ") (SmallCNNOptions::input and ::image).");
    }
    return detail::convolution_layout(x);
  }
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) {
    return BlockModule::block(l, l == 3 ? h.flatten(1) : h);
  }
  torch::Tensor readout(const torch::Tensor& h) { return out_head_(h); }

 private:
  static SmallCNNOptions checked(const SmallCNNOptions& options) {
    if (options.classes < 1) detail::fail("SmallCNN: classes is ", options.classes, ", expected at least 1.");
    if (options.input < 1) detail::fail("SmallCNN: input is ", options.input, ", expected at least 1.");
    if (options.image < 4 || options.image % 4 != 0) {
      detail::fail("SmallCNN: image is ", options.image, ", expected a multiple of 4: it is halved twice.");
    }
    return options;
  }

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
/// - Throws Error for invalid sizes, such as an image that is not a multiple of 4, and for an input of another shape.
using SmallCNN = ModelHolder<SmallCNNImpl>;

}  // namespace creditlib
