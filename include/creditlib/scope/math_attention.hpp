// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>

#include <mutex>

namespace creditlib::scope {

/// While it is in scope, scaled_dot_product_attention runs in separate operations (LibTorch's math backend). Its fused
/// kernels, the default, can be differentiated once only.
///
/// - LibTorch has this setting for the whole process: attention on other threads runs so meanwhile too, with the same
///   results up to rounding.
/// - Scopes on several threads may overlap: the first one changes the setting, and the last one restores it.
class MathAttention {
 public:
  MathAttention() {
    const std::lock_guard<std::mutex> lock(shared().mutex);
    if (shared().scopes++ == 0) {
      shared().before = present();
      set({.math = true});
    }
  }
  ~MathAttention() {
    const std::lock_guard<std::mutex> lock(shared().mutex);
    if (--shared().scopes == 0) set(shared().before);
  }
  MathAttention(const MathAttention&) = delete;
  MathAttention& operator=(const MathAttention&) = delete;

 private:
  /// The backends that attention may use.
  struct Backends {
    bool flash = false, efficient = false, cudnn = false, math = false;
  };
  struct Shared {
    std::mutex mutex;
    int scopes = 0;
    Backends before;
  };
  static Shared& shared() {
    static Shared of_process;
    return of_process;
  }

  static Backends present() {
    const auto& context = at::globalContext();
    return {context.userEnabledFlashSDP(), context.userEnabledMemEfficientSDP(), context.userEnabledCuDNNSDP(),
            context.userEnabledMathSDP()};
  }
  static void set(const Backends& backends) {
    auto& context = at::globalContext();
    context.setSDPUseFlash(backends.flash);
    context.setSDPUseMemEfficient(backends.efficient);
    context.setSDPUseCuDNN(backends.cudnn);
    context.setSDPUseMath(backends.math);
  }
};

}  // namespace creditlib::scope
