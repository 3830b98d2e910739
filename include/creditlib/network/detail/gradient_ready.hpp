// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <functional>

namespace creditlib::detail {

/// Called by a backward pass with a parameter and its gradient as soon as that is made, in an order of the pass' own, and
/// on the thread that called the pass or, by autograd, on LibTorch's for the device. What is kept as factors comes as its
/// right factor. A parameter that no gradient reaches does not come. Empty: nobody listens.
using GradientReady = std::function<void(const torch::Tensor& parameter, const torch::Tensor& gradient)>;

}  // namespace creditlib::detail
