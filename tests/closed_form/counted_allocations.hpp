// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/CPUAllocator.h>

#include <vector>

namespace creditlib::test {

/// While it lives, writes down the size of every tensor storage that LibTorch allocates on the CPU.
class CountedAllocations final : public c10::Allocator {
 public:
  CountedAllocations() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, /*priority=*/100); }
  ~CountedAllocations() override { c10::SetCPUAllocator(before_, /*priority=*/100); }

  c10::DataPtr allocate(std::size_t bytes) override {
    sizes.push_back(bytes);
    return before_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return before_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { before_->copy_data(to, from, bytes); }

  std::vector<std::size_t> sizes;

 private:
  c10::Allocator* before_;
};

}  // namespace creditlib::test
