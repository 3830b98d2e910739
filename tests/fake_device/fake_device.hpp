// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

/// A device that computes on the CPU and is none: tensors on it have LibTorch's PrivateUse1 keys, so a program on it goes
/// the way that it goes on CUDA, and what it does there is written down. It is there for the whole process, which is why
/// its tests are a program of their own.
///
/// - Its memory is the host's. Each operator runs its CPU kernel on it.
/// - An operator that sees tensors of two devices throws, as on CUDA; scalars of the CPU may be read, not written. So does
///   one that is given a generator of the CPU.
/// - Operators that are one kernel on CUDA count as one launch, multi-tensor operators among them. A convolution is one
///   more with a bias, and its backward pass one for each gradient; attention is one, and one backward.
namespace creditlib::test::fake_device {

/// The device; registers it at the first call.
torch::Device device();

/// What was done on the device since the last clear().
struct Log {
  std::map<std::string, int> launches;  ///< by operator: those that CUDA has a kernel for, and copies
  std::vector<std::string> host_reads;  ///< what makes the host wait for the device
  int total() const;
};
Log log();
void clear();

/// Seeds the device's own generator, which its operators draw from.
void seed(std::uint64_t seed);

/// "aten::add 3, aten::mm 2": for messages.
std::string text_of(const std::map<std::string, int>& launches);

}  // namespace creditlib::test::fake_device
