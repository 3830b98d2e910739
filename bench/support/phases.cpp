// SPDX-License-Identifier: Apache-2.0
#include "support/phases.hpp"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <memory>
#include <string_view>

namespace bench {
namespace {

bool is_update(const at::RecordFunction& function) {
  const std::string_view name = function.name();
  return name.starts_with("aten::_fused_adam") || name.starts_with("aten::_fused_sgd");
}

std::unique_ptr<at::ObserverContext> function_starts(const at::RecordFunction& function) {
  if (is_update(function)) timeline.ends(Phase::Backward);
  return nullptr;
}

void function_ends(const at::RecordFunction& function, at::ObserverContext*) {
  if (is_update(function)) timeline.ends(Phase::Optimiser);
}

}  // namespace

Timeline::Time Timeline::now() const {
  if (!device_.is_cpu()) {
    const c10::impl::VirtualGuardImpl guard(device_.type());
    guard.synchronizeDevice(device_.has_index() ? device_.index() : guard.getDevice().index());
  }
  return std::chrono::steady_clock::now();
}

void Timeline::start(torch::Device device) {
  device_ = device;
  ends_ = {};
  watching_ = at::addThreadLocalCallback(
      at::RecordFunctionCallback(function_starts, function_ends).scopes({at::RecordScope::FUNCTION}));
  on_ = true;
  started_ = now();
}

Seconds Timeline::stop() {
  const Time end = now();
  on_ = false;
  at::removeCallback(watching_);
  Seconds seconds{};
  Time from = started_;
  for (std::size_t i = 0; i + 1 < ends_.size(); ++i) {
    if (!ends_[i] || *ends_[i] < from) continue;
    seconds[i] = std::chrono::duration<double>(*ends_[i] - from).count();
    from = *ends_[i];
  }
  seconds.back() = std::chrono::duration<double>(end - from).count();
  return seconds;
}

}  // namespace bench
