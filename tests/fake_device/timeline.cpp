// SPDX-License-Identifier: Apache-2.0
#include "timeline.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>

namespace creditlib::test::fake_device {

namespace {

struct Access {
  std::size_t stream = 0;
  std::uint64_t time = 0;
  std::string who = {};
};

/// Who used a storage since the last write.
struct History {
  std::optional<Access> write = {};
  std::vector<Access> reads = {};
};

struct Block {
  std::size_t bytes = 0;
  c10::StreamId stream = 0;
  int pool = 0;
};

struct State {
  std::mutex mutex;
  std::array<Clock, stream_count> clocks{};
  Clock host{};
  std::map<const void*, History> histories;
  std::vector<std::string> races;
  std::map<void*, Block> blocks;  ///< in use
  std::map<std::tuple<int, c10::StreamId, std::size_t>, std::vector<void*>> free;
  int pool = 0, pools = 0;
};
State& state() {
  static auto* one = new State;  // outlives every tensor
  return *one;
}

thread_local c10::StreamId present = 0;

void join(Clock& into, const Clock& other) {
  for (std::size_t i = 0; i < stream_count; ++i) into[i] = std::max(into[i], other[i]);
}

void check_after(const Access& earlier, const Clock& clock, const std::string& who, std::size_t stream) {
  if (clock[earlier.stream] >= earlier.time) return;
  auto& races = state().races;
  if (races.size() < 20)
    races.push_back(who + " on stream " + std::to_string(stream) + " does not wait for " + earlier.who + " on stream " +
                    std::to_string(earlier.stream));
}

}  // namespace

c10::StreamId present_stream() { return present; }
c10::StreamId exchange_stream(c10::StreamId next) { return std::exchange(present, next); }
c10::StreamId next_stream_of_pool() {
  static std::atomic<c10::StreamId> next{0};
  return 1 + next++ % static_cast<c10::StreamId>(stream_count - 1);
}

Clock now_on(c10::StreamId stream) {
  const std::lock_guard lock(state().mutex);
  auto clock = state().clocks[static_cast<std::size_t>(stream)];
  join(clock, state().host);
  return clock;
}
void wait_on(c10::StreamId stream, const Clock& event) {
  const std::lock_guard lock(state().mutex);
  join(state().clocks[static_cast<std::size_t>(stream)], event);
}
void host_waits_for(const Clock& event) {
  const std::lock_guard lock(state().mutex);
  join(state().host, event);
}
void host_waits_for_all() {
  const std::lock_guard lock(state().mutex);
  for (const auto& clock : state().clocks) join(state().host, clock);
}

void access(const std::string& who, const std::vector<const void*>& reads, const std::vector<const void*>& writes) {
  auto& all = state();
  const std::lock_guard lock(all.mutex);
  const auto stream = static_cast<std::size_t>(present);
  auto& clock = all.clocks[stream];
  join(clock, all.host);
  const Access now{stream, ++clock[stream], who};
  for (const auto* storage : reads) {
    auto& history = all.histories[storage];
    if (history.write) check_after(*history.write, clock, who, stream);
    history.reads.push_back(now);
  }
  for (const auto* storage : writes) {
    auto& history = all.histories[storage];
    if (history.write) check_after(*history.write, clock, who, stream);
    for (const auto& read : history.reads) check_after(read, clock, who, stream);
    history = {now, {}};
  }
}
std::vector<std::string> races() {
  const std::lock_guard lock(state().mutex);
  return state().races;
}
void clear_races() {
  const std::lock_guard lock(state().mutex);
  state().races.clear();
}

void* allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  bytes = (bytes + 511) / 512 * 512;  // as coarse as CUDA's
  auto& all = state();
  const std::lock_guard lock(all.mutex);
  auto& freed = all.free[{all.pool, present, bytes}];
  void* block = nullptr;
  if (freed.empty()) {
    block = std::aligned_alloc(512, bytes);
  } else {
    block = freed.back();
    freed.pop_back();
    auto clock = all.clocks[static_cast<std::size_t>(present)];
    join(clock, all.host);
    const auto& history = all.histories[block];
    const std::string who = "memory that is used again";
    if (history.write) check_after(*history.write, clock, who, static_cast<std::size_t>(present));
    for (const auto& read : history.reads) check_after(read, clock, who, static_cast<std::size_t>(present));
  }
  std::memset(block, 0xff, bytes);
  all.blocks[block] = {bytes, present, all.pool};
  return block;
}
void release(void* block) {
  if (block == nullptr) return;
  auto& all = state();
  const std::lock_guard lock(all.mutex);
  const auto of = all.blocks.at(block);
  all.blocks.erase(block);
  all.free[{of.pool, of.stream, of.bytes}].push_back(block);
}

int new_pool() {
  const std::lock_guard lock(state().mutex);
  return ++state().pools;
}
InPool::InPool(int pool) {
  const std::lock_guard lock(state().mutex);
  state().pool = pool;
}
InPool::~InPool() {
  const std::lock_guard lock(state().mutex);
  state().pool = 0;
}

}  // namespace creditlib::test::fake_device
