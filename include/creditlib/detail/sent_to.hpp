// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

namespace creditlib::detail {

/// Numbers of the host on a device, in this dtype. The copy, from pinned memory, is queued behind the device's work, for
/// which nobody waits.
inline torch::Tensor sent_to(torch::Device device, torch::Dtype dtype, const torch::Tensor& host) {
  const auto cast = host.to(dtype);
  if (device.is_cpu()) return cast;
  return cast.pin_memory().to(device, /*non_blocking=*/true);
}

}  // namespace creditlib::detail
