// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

namespace creditlib::detail {

/// Images (B, C, H, W) in the memory layout in which convolutions are fastest: channels-last on the CPU, unchanged
/// elsewhere. The numbers are the same, and results computed from them keep the layout. (Measured, a training step on
/// the CPU: SmallCNN is 1.1 to 1.2 times as fast, SmallResNet 1.2 to 1.3 times; the layout of the weights makes no
/// difference.)
inline torch::Tensor convolution_layout(const torch::Tensor& images) {
  return images.device().is_cpu() ? images.contiguous(torch::MemoryFormat::ChannelsLast) : images;
}

}  // namespace creditlib::detail
