// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <chrono>
#include <creditlib/error.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// "0.5 s".
inline std::string seconds_text(std::chrono::milliseconds time) {
  return c10::str(std::chrono::duration<double>(time).count(), " s");
}

/// Marks that the processes of a group leave in a store: that they are there, and that a call of theirs has failed. They
/// tell the processes that are gone from those that fail because of that.
class GroupMarks {
 public:
  using Clock = std::chrono::steady_clock;

  /// `keeper` is who keeps the store: "Rank 0".
  GroupMarks(c10::intrusive_ptr<c10d::Store> store, std::int64_t rank, std::int64_t size, std::string keeper)
      : store_(std::move(store)), rank_(rank), size_(size), keeper_(std::move(keeper)) {}

  /// Waits until every rank is there. Throws Error with the ranks that do not come.
  void meet(std::chrono::milliseconds timeout) const {
    set("here");
    auto absent = all();
    await("here", Clock::now() + timeout, 0, absent);
    if (absent.empty()) return;
    fail(said_of(absent, " did not come", " did not come"), " within ", seconds_text(timeout), "; are all ", size_,
         " processes started, with this WORLD_SIZE, MASTER_ADDR and MASTER_PORT?");
  }

  /// Says that a call of this process has failed, if the store can still be reached.
  void say_failed() const noexcept {
    try {
      set("failed");
    } catch (const std::exception&) {  // culprits() tells
    }
  }
  /// After say_failed(): waits until all others but one have said the same, or until `latest`. Returns a sentence about
  /// those that have not.
  std::string culprits(Clock::time_point latest) const {
    // A store whose keeper hangs blocks whoever asks it, so that a thread of its own does, which may outlive this call.
    const auto found = std::make_shared<std::promise<std::string>>();
    auto answer = found->get_future();
    std::thread([found, latest, marks = *this] { found->set_value(marks.looked_up(latest)); }).detach();
    if (answer.wait_until(latest + std::chrono::milliseconds(500)) == std::future_status::ready) return answer.get();
    return no_answer();
  }

 private:
  std::string no_answer() const {
    return keeper_ + ", which keeps the group's store, does not answer: it is gone or cut off.";
  }

  std::string looked_up(Clock::time_point latest) const {
    auto silent = all();
    std::erase(silent, rank_);
    try {
      await("failed", std::min(latest, Clock::now() + std::chrono::milliseconds(200)), 0, silent);
      await("failed", latest, 1, silent);
    } catch (const std::exception&) {
      // Whoever keeps the store may have gone after it had said that it failed too.
      if (std::ranges::find(silent, 0) != silent.end()) return no_answer();
    }
    if (silent.empty()) {
      return "The call failed on all ranks: do all make the same calls, with tensors of the same sizes?";
    }
    return said_of(silent, " is gone, cut off, or did not make this call in time.",
                   " are gone, cut off, or did not make this call in time.");
  }

  static std::string said_of(const std::vector<std::int64_t>& ranks, const char* one, const char* several) {
    const bool alone = ranks.size() == 1;
    return c10::str(alone ? "Rank " : "Ranks ", c10::Join(", ", ranks), alone ? one : several);
  }

  std::vector<std::int64_t> all() const {
    std::vector<std::int64_t> ranks;
    for (std::int64_t rank = 0; rank < size_; ++rank) ranks.push_back(rank);
    return ranks;
  }
  static std::string key(const char* what, std::int64_t rank) { return c10::str(what, "/", rank); }
  void set(const char* what) const { store_->set(key(what, rank_), std::vector<std::uint8_t>{1}); }

  /// Removes from `missing` the ranks that leave the mark, until no more than `enough` are left, or until `latest`.
  void await(const char* what, Clock::time_point latest, std::size_t enough, std::vector<std::int64_t>& missing) const {
    for (auto pause = std::chrono::milliseconds(1);; pause = std::min(2 * pause, std::chrono::milliseconds(50))) {
      const bool last = Clock::now() >= latest;
      std::erase_if(missing, [&](std::int64_t rank) { return store_->check({key(what, rank)}); });
      if (last || missing.size() <= enough) return;
      std::this_thread::sleep_for(pause);
    }
  }

  c10::intrusive_ptr<c10d::Store> store_;
  std::int64_t rank_, size_;
  std::string keeper_;
};

}  // namespace creditlib::detail
