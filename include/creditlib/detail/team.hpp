// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Parallel.h>
#include <ATen/ThreadLocalState.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>
#include <type_traits>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CREDITLIB_DETAIL_THREAD_SANITIZER
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(CREDITLIB_DETAIL_THREAD_SANITIZER)
#undef CREDITLIB_DETAIL_THREAD_SANITIZER
#define CREDITLIB_DETAIL_THREAD_SANITIZER 1
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#else
#define CREDITLIB_DETAIL_THREAD_SANITIZER 0
#endif

/// Work that threads share: LibTorch's own threads do it, so that there are never more threads than LibTorch's number,
/// and none of ours spin on a core that LibTorch's need.
namespace creditlib::detail {

/// The OpenMP runtime that LibTorch runs on, found in the process, since programs need not be compiled with OpenMP (and
/// clang's would bring a second runtime). libgomp has these entry points, and so has LLVM's libomp.
class OpenMP {
 public:
  static const OpenMP& of_libtorch() {
    static const OpenMP openmp;
    return openmp;
  }

  bool found() const { return parallel && thread && threads && set_threads; }

  void (*parallel)(void (*body)(void*), void* argument, unsigned threads, unsigned flags) = nullptr;
  int (*thread)() = nullptr;           ///< the number of the present thread
  int (*threads)() = nullptr;          ///< how many are running the present body
  void (*set_threads)(int) = nullptr;  ///< for what the present body calls, until its end

 private:
  OpenMP() {
    void* const loaded = dlopen("libgomp.so.1", RTLD_LAZY | RTLD_NOLOAD);  // null if it has another name
    const auto find = [&](auto& function, const char* name) {
      void* symbol = dlsym(RTLD_DEFAULT, name);
      if (symbol == nullptr && loaded != nullptr) symbol = dlsym(loaded, name);
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol);
    };
    find(parallel, "GOMP_parallel");
    find(thread, "omp_get_thread_num");
    find(threads, "omp_get_num_threads");
    find(set_threads, "omp_set_num_threads");
  }
};

/// While it lives, the calling thread shares its work with no other.
class OnOneThread {
 public:
  OnOneThread() { ++count(); }
  ~OnOneThread() { --count(); }
  OnOneThread(const OnOneThread&) = delete;
  OnOneThread& operator=(const OnOneThread&) = delete;

  static bool holds() { return count() > 0; }

 private:
  static int& count() {
    thread_local int count = 0;
    return count;
  }
};

/// How many threads can share the work of the calling one: LibTorch's number, or 1 if that is itself one of several.
inline std::int64_t team_size() {
  const bool alone = OnOneThread::holds() || at::in_parallel_region() || !OpenMP::of_libtorch().found();
  return alone ? 1 : at::get_num_threads();
}

/// How often the calling thread has called a team together, for tests.
inline std::int64_t& team_calls() {
  thread_local std::int64_t calls = 0;
  return calls;
}

/// Calls work(0), ..., work(shares - 1), share i always on the same of LibTorch's threads, and returns when all are done.
/// Within it LibTorch's operators run on one thread each. Modes such as NoGradGuard hold there as in the calling thread.
/// The first exception is thrown on; other threads do their shares all the same.
template <class Work>
void in_shares(std::int64_t shares, const Work& work) {
  if (shares <= 1 || team_size() == 1) {
    for (std::int64_t i = 0; i < shares; ++i) work(i);
    return;
  }
  struct Call {
    const Work& work;
    std::int64_t shares;
    at::ThreadLocalState modes;
    std::mutex mutex = {};
    std::exception_ptr failure = {};

    void run(std::int64_t thread, std::int64_t threads) {
      try {
        for (auto i = thread; i < shares; i += threads) work(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!failure) failure = std::current_exception();
      }
    }
  } call{work, shares, {}};

  ++team_calls();
#if CREDITLIB_DETAIL_THREAD_SANITIZER
  __tsan_release(&call);  // libgomp's own synchronization is not seen
#endif
  OpenMP::of_libtorch().parallel(
      [](void* argument) {
        auto& shared = *static_cast<Call*>(argument);
        const auto& openmp = OpenMP::of_libtorch();
        const int thread = openmp.thread();
        // oneDNN plans for as many threads as it is told, and they would wait forever for those that do not come. LibTorch
        // sets the number itself when it is first called on a thread.
        at::get_num_threads();
        openmp.set_threads(1);
        if (thread == 0) {
          shared.run(0, openmp.threads());
          return;
        }
#if CREDITLIB_DETAIL_THREAD_SANITIZER
        __tsan_acquire(&shared);
#endif
        {
          const at::ThreadLocalStateGuard modes(shared.modes);
          shared.run(thread, openmp.threads());
        }
#if CREDITLIB_DETAIL_THREAD_SANITIZER
        __tsan_release(&shared);
#endif
      },
      &call, static_cast<unsigned>(std::min(shares, team_size())), 0);
#if CREDITLIB_DETAIL_THREAD_SANITIZER
  __tsan_acquire(&call);
#endif
  if (call.failure) std::rethrow_exception(call.failure);
}

}  // namespace creditlib::detail
