#pragma once

#include <cstdlib>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

/// Settings of the whole process, which a program makes and no other header of the library does.
namespace creditlib::runtime {

/// Keeps the memory of tensors that were freed for those that come, from now on.
///
/// glibc gives large blocks back to the kernel when they are freed, and gets them anew, page by page, at the next step.
/// A step whose tensors are made anew each time, as all of autograd's are, spends up to a fifth of its time on that
/// (docs/performance.md). The process then keeps what it held at its peak. Call it first thing in main. Where the C
/// library is not glibc it does nothing; nor does it where another allocator stands in for glibc's, which need it not.
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
