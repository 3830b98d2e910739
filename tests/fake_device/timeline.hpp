// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Stream.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// What the fake device does in which order, and its memory. Work is done at once, in the order of the host's calls; what
/// is kept is which orders a device would be free to take.
namespace creditlib::test::fake_device {

inline constexpr std::size_t stream_count = 33;  ///< the default one, and as many in a pool as LibTorch has for CUDA

/// How far each stream had come when something was done: a vector clock.
using Clock = std::array<std::uint64_t, stream_count>;

c10::StreamId present_stream();
c10::StreamId exchange_stream(c10::StreamId next);
c10::StreamId next_stream_of_pool();

/// Where a stream is, for an event.
Clock now_on(c10::StreamId stream);
/// What is queued on the stream from now on comes after that.
void wait_on(c10::StreamId stream, const Clock& event);
/// What is queued anywhere from now on comes after that: the host waited for it.
void host_waits_for(const Clock& event);
void host_waits_for_all();

/// Work on the present stream that reads and writes these storages. Two accesses of one storage, at least one of which
/// writes, are a race unless one comes after the other.
void access(const std::string& who, const std::vector<const void*>& reads, const std::vector<const void*>& writes);
std::vector<std::string> races();
void clear_races();

// ---- Memory, as CUDA's caching allocator gives it ----

/// Memory for work on the present stream: of a block of that size that was freed, if there is one, without waiting for
/// what other streams do with it. All its bytes are 0xff: floating-point numbers are NaN.
void* allocate(std::size_t bytes);
void release(void* block);

/// Blocks come from a pool of their own while it is in scope, in every thread, and go back to it.
class InPool {
 public:
  explicit InPool(int pool);
  ~InPool();
  InPool(const InPool&) = delete;
  InPool& operator=(const InPool&) = delete;
};
int new_pool();

}  // namespace creditlib::test::fake_device
