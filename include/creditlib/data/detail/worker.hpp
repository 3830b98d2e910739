// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>

namespace creditlib::detail {

/// A thread that does one piece of work after another, so that no new one is needed for each. It starts with the first
/// and ends, when what it was given is done, with this object.
class Worker {
 public:
  Worker() = default;
  ~Worker() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Starts work once what was started before is done; its result, or what it throws, is in the future.
  template <class Work>
  auto start(Work work) -> std::future<std::invoke_result_t<Work&>> {
    auto task = std::make_shared<std::packaged_task<std::invoke_result_t<Work&>()>>(std::move(work));
    auto result = task->get_future();
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return !next_; });
    next_ = [task] { (*task)(); };
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    lock.unlock();
    changed_.notify_all();
    return result;
  }

 private:
  void run() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [&] { return next_ || ended_; });
      if (!next_) return;
      const auto work = std::exchange(next_, nullptr);
      lock.unlock();
      changed_.notify_all();
      work();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> next_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace creditlib::detail
