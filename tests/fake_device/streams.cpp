// SPDX-License-Identifier: Apache-2.0
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <optional>
#include <string>
#include <vector>

#include "../test.hpp"
#include "fake_device.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

c10::Stream another_stream() {
  return c10::impl::VirtualGuardImpl(torch::kPrivateUse1).getStreamFromGlobalPool(fake_device::device());
}
c10::Stream stream_now() { return c10::impl::VirtualGuardImpl(torch::kPrivateUse1).getStream(fake_device::device()); }
void follow(const c10::Stream& later, const c10::Stream& earlier) {
  c10::Event event(torch::kPrivateUse1);
  event.record(earlier);
  event.block(later);
}

/// How many races `action` has.
template <class Action>
std::size_t races_of(const Action& action) {
  fake_device::clear();
  action();
  const auto races = fake_device::log().races;
  return races.size();
}

}  // namespace

TEST_CASE("work of two streams on one storage is a race unless an event orders it", "[fake_device]") {
  const auto x = torch::ones({4}, fake_device::device());
  const auto main = stream_now(), side = another_stream();
  const auto on_side = [&](const auto& action) {
    const c10::StreamGuard guard(side);
    action();
  };

  CHECK(races_of([&] { on_side([&] { x.add_(1); }); }) == 1);  // does not wait for ones()
  x.cpu();                                                     // the host waits for the main stream alone
  CHECK(races_of([&] { x.add_(1); }) == 1);                    // does not wait for the side
  follow(main, side);
  CHECK(races_of([&] {
          follow(side, main);
          on_side([&] { x.add_(1); });
          follow(main, side);
          x.add_(1);
        }) == 0);
  follow(side, main);
  CHECK(races_of([&] {
          on_side([&] { x.sum(); });
          x.sum();
        }) == 0);                            // both read
  CHECK(races_of([&] { x.add_(1); }) == 1);  // does not wait for the side's sum
  follow(main, side);
}

TEST_CASE("memory that goes back to its stream before another has read it is a race", "[fake_device]") {
  const auto main = stream_now(), side = another_stream();
  const auto run = [&](bool join) {
    return races_of([&] {
      std::optional<torch::Tensor> x = torch::ones({1001}, fake_device::device());
      follow(side, main);
      torch::Tensor sum;
      {
        const c10::StreamGuard guard(side);
        sum = x->sum();
      }
      if (join) follow(main, side);
      x.reset();
      torch::empty({1001}, fake_device::device());
      follow(main, side);
    });
  };
  CHECK(run(/*join=*/false) == 1);
  CHECK(run(/*join=*/true) == 0);
}

TEST_CASE("new memory on the fake device is full of NaN", "[fake_device]") {
  CHECK(torch::empty({3}, fake_device::device()).isnan().all().cpu().item<bool>());
}
