#pragma once

#include <torch/types.h>

namespace creditlib::detail {

/// Images (B, C, H, W) in the memory layout that convolutions are fastest in: channels last on the CPU, as they are
/// elsewhere. The numbers are the same, and what is computed from them keeps the layout. (Measured, a training step on
/// the CPU: SmallCNN 1.1 to 1.2 times as fast, SmallResNet 1.2 to 1.3 times; the weights' own layout makes no
/// difference.)
inline torch::Tensor convolution_layout(const torch::Tensor& images) {
  return images.device().is_cpu() ? images.contiguous(torch::MemoryFormat::ChannelsLast) : images;
}

}  // namespace creditlib::detail
