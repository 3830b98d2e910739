// SPDX-License-Identifier: Apache-2.0
#include <torch/types.h>

#include <creditlib/runtime/memory.hpp>

#include "../test.hpp"

// What glibc tells of its heap; sanitizers have a heap of their own.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if __GLIBC_PREREQ(2, 33)
#include <malloc.h>
#define CREDITLIB_TEST_HEAP
#endif
#endif

TEST_CASE("freed memory is kept for what comes", "[runtime]") {
  constexpr std::size_t size = std::size_t{64} << 20;
  // Called for good: from here on this process keeps what it frees.
  creditlib::runtime::keep_freed_memory();
#if defined(CREDITLIB_TEST_HEAP)
  const auto mapped = mallinfo2().hblkhd;

  void* block = std::malloc(size);
  const auto mapped_with_block = mallinfo2().hblkhd;
  std::free(block);
  const auto kept = mallinfo2().fordblks;

  CHECK(block != nullptr);
  CHECK(mapped_with_block == mapped);  // not a mapping of its own, which would go back to the kernel
  CHECK(kept >= size);
#else
  void* block = std::malloc(size);
  CHECK(block != nullptr);
  std::free(block);
#endif
}
