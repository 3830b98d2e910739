// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>
#include <shared_mutex>

namespace creditlib::detail {

/// Keeps apart the threads of a process that draw from LibTorch's global generators (any number at once) and those that
/// put a generator back to an earlier state (one, and alone): it would put back the others' draws too.
///
/// - Locks nest within a thread. An inner one that asks for less, or for the same, costs nothing.
/// - An inner PutBack within a Draw gives the Draw up until its end, so that two threads cannot wait for each other.
class DrawLock {
 public:
  enum Kind { None, Draw, PutBack };

  explicit DrawLock(Kind wanted) : before_(held()) {
    if (wanted > before_) change_to(wanted);
  }
  ~DrawLock() {
    if (held() != before_) change_to(before_);
  }
  DrawLock(const DrawLock&) = delete;
  DrawLock& operator=(const DrawLock&) = delete;

 private:
  /// What the calling thread holds.
  static Kind& held() {
    thread_local Kind kind = None;
    return kind;
  }

  static void change_to(Kind kind) {
    static std::mutex queue;  // who waits to put back stands in it, and holds up those who come to draw later
    static std::shared_mutex drawing;
    if (held() == Draw) drawing.unlock_shared();
    if (held() == PutBack) drawing.unlock();
    held() = None;
    if (kind == None) return;
    const std::lock_guard<std::mutex> turn(queue);
    if (kind == Draw) {
      drawing.lock_shared();
    } else {
      drawing.lock();
    }
    held() = kind;
  }

  Kind before_;
};

}  // namespace creditlib::detail
