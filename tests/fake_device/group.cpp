// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <creditlib/distributed/c10d.hpp>
#include <stdexcept>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <vector>

#include "../test.hpp"
#include "fake_device.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

struct DoneWork final : c10d::Work {
  bool wait(std::chrono::milliseconds) override { return true; }
};

/// A backend of two alike, of which this is one: it takes tensors of the device alone, as NCCL does.
class DeviceBackend final : public c10d::Backend {
 public:
  DeviceBackend() : Backend(0, 2) {}

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<torch::Tensor>& tensors,
                                           const c10d::AllreduceOptions&) override {
    require(tensors).mul_(2);
    return done();
  }
  c10::intrusive_ptr<c10d::Work> broadcast(std::vector<torch::Tensor>& tensors,
                                           const c10d::BroadcastOptions&) override {
    require(tensors);
    return done();
  }
  c10::intrusive_ptr<c10d::Work> send(std::vector<torch::Tensor>& tensors, int, int) override {
    sent_ = require(tensors).clone();
    return done();
  }
  c10::intrusive_ptr<c10d::Work> recv(std::vector<torch::Tensor>& tensors, int, int) override {
    require(tensors).copy_(sent_);
    return done();
  }

 private:
  static torch::Tensor require(const std::vector<torch::Tensor>& tensors) {
    if (tensors.at(0).device() != fake_device::device()) throw std::runtime_error("a tensor of another device");
    return tensors[0];
  }
  static c10::intrusive_ptr<c10d::Work> done() { return c10::make_intrusive<DoneWork>(); }

  torch::Tensor sent_;
};

}  // namespace

TEST_CASE("tensors of the CPU go by the device if the backend takes no others", "[fake_device]") {
  const auto group = distributed::over(c10::make_intrusive<DeviceBackend>(), fake_device::device());
  const auto here = torch::arange(3), floats = torch::ones({2, 2}), there = torch::ones({2}).to(fake_device::device());

  group->sum({here, floats, there});
  CHECK(here.equal(torch::arange(3) * 2));
  CHECK(floats.equal(torch::full({2, 2}, 2.0F)));
  CHECK(there.cpu().equal(torch::full({2}, 2.0F)));
  group->broadcast({here, there}, 1);
  CHECK(here.equal(torch::arange(3) * 2));
  const auto received = torch::zeros({3}, torch::kInt64);
  group->send(here, 1);
  group->receive(received, 1);
  CHECK(received.equal(here));
  group->barrier();

  const auto without = distributed::over(c10::make_intrusive<DeviceBackend>());
  CHECK_THROWS_AS(without->sum({here}), Error);
}
