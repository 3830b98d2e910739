// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

/// A device that computes on the CPU and is none: tensors on it have LibTorch's PrivateUse1 keys, so a program on it goes
/// the way that it goes on CUDA, and what it does there is written down. It is there for the whole process, which is why
/// its tests are a program of their own.
///
/// - Its memory is the host's, and full of NaN when it is allocated. Each operator runs its CPU kernel on it.
/// - An operator that sees tensors of two devices throws, as on CUDA; scalars of the CPU may be read, not written. So does
///   one that is given a generator of the CPU.
/// - Operators that are one kernel on CUDA count as one launch, multi-tensor operators among them. A convolution is one
///   more with a bias, and its backward pass one for each gradient; attention is one, and one backward.
namespace creditlib::test::fake_device {

/// The device, which is registered when the program starts.
torch::Device device();

/// What was done on the device since the last clear().
struct Log {
  std::map<std::string, int> launches;  ///< by operator: those that CUDA has a kernel for, and copies
  std::vector<std::string> host_reads;  ///< what makes the host wait for the device
  std::vector<std::string> races;       ///< work of two streams on one storage that has no order
  int total() const;
};
Log log();
void clear();

/// Seeds the device's own generator, which its operators draw from.
void seed(std::uint64_t seed);

/// Work that was captured: what the device did, not what the host did. It keeps no memory but its pool's, of which other
/// graphs of the pool use what was free when they were captured.
class Graph {
 public:
  /// Does all of it again, on the present stream.
  void replay();
  /// Kernels and copies.
  std::int64_t nodes() const;

  struct Tape;
  explicit Graph(std::shared_ptr<Tape> tape) : tape_(std::move(tape)) {}

 private:
  std::shared_ptr<Tape> tape_;
};

/// Runs `action` and does none of its work; what makes the host wait, and copies between host and device, throw. Tensors
/// that are made meanwhile lie in the pool.
std::unique_ptr<Graph> captured(int pool, const std::function<void()>& action);
int new_pool();

/// "aten::add 3, aten::mm 2": for messages.
std::string text_of(const std::map<std::string, int>& launches);

}  // namespace creditlib::test::fake_device
