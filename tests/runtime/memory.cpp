// SPDX-License-Identifier: Apache-2.0
#include <torch/types.h>

#include <creditlib/runtime/memory.hpp>

#include "../test.hpp"

// What glibc tells of its heap; AddressSanitizer has a heap of its own.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#if __GLIBC_PREREQ(2, 33)
#include <malloc.h>

using namespace creditlib;

TEST_CASE("freed memory is kept for what comes", "[runtime]") {
  constexpr std::size_t size = std::size_t{64} << 20;
  // Called for good: from here on this process keeps what it frees.
  runtime::keep_freed_memory();
  const auto mapped = mallinfo2().hblkhd;

  void* block = std::malloc(size);
  const auto mapped_with_block = mallinfo2().hblkhd;
  std::free(block);
  const auto kept = mallinfo2().fordblks;

  CHECK(block != nullptr);
  CHECK(mapped_with_block == mapped);  // not a mapping of its own, which would go back to the kernel
  CHECK(kept >= size);
}

#endif
#endif
