// SPDX-License-Identifier: Apache-2.0
#include <creditlib/closed_form/detail/side_by_side.hpp>
#include <vector>

#include "../test.hpp"

TEST_CASE("work side by side is all done, once each, and on the CPU in order", "[detail]") {
  creditlib::detail::SideBySide side_by_side;
  for (const std::size_t count : {0, 1, 5}) {
    std::vector<std::size_t> done;
    side_by_side.run(torch::kCPU, count, [&](std::size_t i) { done.push_back(i); });
    REQUIRE(done.size() == count);
    for (std::size_t i = 0; i < count; ++i) CHECK(done[i] == i);
  }
}

TEST_CASE("on CUDA what follows side-by-side work sees all of it", "[detail][cuda]") {
  if (!torch::cuda::is_available()) {
    SUCCEED("skipped: no CUDA device");
    return;
  }
  creditlib::detail::SideBySide side_by_side;
  const auto x = torch::ones({2000, 2000}, torch::kCUDA);
  std::vector<torch::Tensor> sums(6);
  side_by_side.run(x.device(), sums.size(),
                   [&](std::size_t i) { sums[i] = x.mm(x).mm(x).sum() * static_cast<double>(i); });
  const auto total = torch::stack(sums).sum();
  CHECK(total.item<double>() == Approx(15 * 2000.0 * 2000 * 2000 * 2000).epsilon(1e-4));
}
