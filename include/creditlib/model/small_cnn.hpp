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
#include <creditlib/detail/image_layout.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace creditlib {

struct SmallCNNOptions {
  std::int64_t classes = 10;  ///< C
};

class SmallCNNImpl : public torch::nn::Module {
 public:
  explicit SmallCNNImpl(const SmallCNNOptions& options) : options_(checked(options)) {
    using namespace torch::nn;
    const auto conv = [](std::int64_t from, std::int64_t to) { return Conv2d(Conv2dOptions(from, to, 3).padding(1)); };
    blocks_ = register_module("blocks", ModuleList());
    blocks_->push_back(Sequential(conv(3, 32), BatchNorm2d(32), ReLU()));
    blocks_->push_back(Sequential(conv(32, 64), BatchNorm2d(64), ReLU(), MaxPool2d(2)));
    blocks_->push_back(Sequential(conv(64, 128), BatchNorm2d(128), ReLU(), MaxPool2d(2)));
    blocks_->push_back(Sequential(Linear(128 * 8 * 8, 256), ReLU()));
    out_head_ = register_module("out_head", Linear(256, options.classes));
  }

  const SmallCNNOptions& options() const { return options_; }
  std::int64_t blocks() const { return 4; }
  std::int64_t classes() const { return options_.classes; }
  std::vector<std::int64_t> hidden_shape(std::int64_t l) const {
    static const std::vector<std::vector<std::int64_t>> shapes{
        {3, 32, 32}, {32, 32, 32}, {64, 16, 16}, {128, 8, 8}, {256}};
    if (l < 0 || l > blocks()) detail::fail("SmallCNN: there is no h_", l, ", expected 0..", blocks(), ".");
    return shapes[static_cast<std::size_t>(l)];
  }

  /// The images themselves, (B, 3, 32, 32).
  torch::Tensor embed(const torch::Tensor& x) {
    if (x.dim() != 4 || x.size(1) != 3 || x.size(2) != 32 || x.size(3) != 32) {
      detail::fail("SmallCNN: the input is ", detail::shape_text(x.sizes()), ", expected (B, 3, 32, 32).");
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
    return options;
  }

  SmallCNNOptions options_;
  torch::nn::ModuleList blocks_ = nullptr;
  torch::nn::Linear out_head_ = nullptr;
};

/// The CNN baseline script's network for images of 3x32x32: no skip, no embed, BatchNorm.
///
///     h_0 = x,  h_{l+1} = f_l = block_l(h_l),  logits = out_head(h_4)
///
/// Blocks: conv 3-32, BN, ReLU | conv 32-64, BN, ReLU, maxpool | conv 64-128, BN, ReLU, maxpool | FC 8192-256, ReLU;
/// all convolutions are 3x3 with bias. Hidden states: (3, 32, 32), (32, 32, 32), (64, 16, 16), (128, 8, 8), (256).
/// Initialised as LibTorch does, from its global generator. 2.2 million parameters: blocks.<l>.0.* (convolution, FC),
/// blocks.<l>.1.* (BatchNorm), out_head.*.
///
/// Throws Error for fewer than 2 classes and for an input of another shape. Source: SmallCNN of cnn_baseline.
class SmallCNN : public torch::nn::ModuleHolder<SmallCNNImpl> {
 public:
  explicit SmallCNN(const SmallCNNOptions& options) : ModuleHolder(std::make_shared<SmallCNNImpl>(options)) {}
  /// Holds that module, or none (nullptr). A template, because SmallCNN({}) would be no module otherwise.
  template <std::convertible_to<std::shared_ptr<SmallCNNImpl>> Pointer>
  SmallCNN(Pointer module) : ModuleHolder(std::shared_ptr<SmallCNNImpl>(std::move(module))) {}
};

}  // namespace creditlib
