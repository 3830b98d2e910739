// SPDX-License-Identifier: Apache-2.0
#include <torch/types.h>

#include <creditlib/runtime/denormals.hpp>
#include <thread>

#include "../test.hpp"

using namespace creditlib;

namespace {

struct Off {
  ~Off() { runtime::flush_denormals(false); }
};

float largest(const torch::Tensor& x) { return x.max().item<float>(); }

}  // namespace

TEST_CASE("numbers below the normal range are 0 once they are flushed, and only then", "[runtime]") {
  const Off after;
  const auto small = torch::full({64}, 1e-30F), below = torch::full({64}, 1e-40F);
  CHECK(largest(small * 1e-10F) > 0);
  CHECK(largest(below * 1e20F) > 0);

  if (!runtime::flush_denormals()) {
    CHECK(largest(small * 1e-10F) > 0);
    return;
  }
  CHECK(largest(small * 1e-10F) == 0);  // made
  CHECK(largest(below * 1e20F) == 0);   // read
  CHECK(largest(small * 1e-7F) > 0);    // 1e-37 is a normal number
  float on_another_thread = 1;
  std::thread([&] { on_another_thread = largest(small * 1e-10F); }).join();
  CHECK(on_another_thread == 0);

  runtime::flush_denormals(false);
  CHECK(largest(small * 1e-10F) > 0);
}
