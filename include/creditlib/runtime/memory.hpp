// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

/// Settings of the whole process, for programs to make; no other header of the library changes them.
namespace creditlib::runtime {

/// From now on, keeps the memory of freed tensors for new ones instead of returning it to the kernel.
///
/// glibc returns large blocks to the kernel when they are freed and obtains them again, page by page, at the next step.
/// A step that allocates its tensors anew, as autograd does, spends up to a fifth of its time on that
/// (docs/performance.md). The process then keeps its peak memory. Call it at the start of main. It does nothing if the
/// C library is not glibc, or if another allocator replaces glibc's (which does not need it).
inline void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_MAX, 0);         // blocks come from the heap, whatever their size
  mallopt(M_TRIM_THRESHOLD, -1);  // and the heap does not shrink
#endif
}

}  // namespace creditlib::runtime

namespace creditlib {
namespace process = runtime;  // deprecated name
}
