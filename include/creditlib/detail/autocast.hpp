// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/autocast_mode.h>
#include <torch/types.h>

namespace creditlib::detail {

/// Whether the program has autocast on for a device.
inline bool autocast_is_on(const torch::Device& device) {
  return at::autocast::is_autocast_available(device.type()) && at::autocast::is_autocast_enabled(device.type());
}

/// LibTorch's autocast for the device's type, on or off for as long as this lives. It works without its cache of cast
/// weights: an update leaves that stale. If it was on before, what the program had in the cache is dropped at the end.
class Autocast {
 public:
  Autocast(const torch::Device& device, bool on)
      : device_(device), was_on_(autocast_is_on(device)), had_cache_(at::autocast::is_autocast_cache_enabled()) {
    if (on != was_on_) at::autocast::set_autocast_enabled(device_.type(), on);
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~Autocast() {
    at::autocast::set_autocast_cache_enabled(had_cache_);
    if (autocast_is_on(device_) != was_on_) at::autocast::set_autocast_enabled(device_.type(), was_on_);
    if (was_on_) at::autocast::clear_cache();
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

  bool was_on() const { return was_on_; }

 private:
  torch::Device device_;
  bool was_on_, had_cache_;
};

/// How a trainer runs a part of its network while autocast is off: under autocast if the program has it on, with the
/// result in the model's dtype.
struct PartRunner {
  torch::Device device = torch::kCPU;
  torch::Dtype dtype = torch::kFloat32;
  bool autocast = false;

  template <class Run>
  torch::Tensor operator()(const Run& run) const {
    if (!autocast) return run();
    const Autocast on(device, true);
    const torch::Tensor result = run();
    return result.defined() && result.is_floating_point() ? result.to(dtype) : result;
  }
};

}  // namespace creditlib::detail
