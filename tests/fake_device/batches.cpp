// SPDX-License-Identifier: Apache-2.0
#include <creditlib/data/batches.hpp>
#include <string>
#include <vector>

#include "../test.hpp"
#include "fake_device.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("batches of a device are the CPU's, and many are made at once", "[fake_device]") {
  torch::manual_seed(3);
  const data::Dataset images{.name = "images",
                             .images = torch::randint(256, {70, 3, 8, 8}).to(torch::kUInt8),
                             .labels = torch::randint(10, {70}),
                             .classes = 10,
                             .mean = {0.4, 0.5, 0.6},
                             .deviation = {0.2, 0.3, 0.4}};
  for (const std::int64_t batch_size : {1, 4, 32}) {
    CAPTURE(batch_size);
    const data::BatchOptions options{.batch_size = batch_size, .augment = true, .flatten = true, .seed = 5};
    data::Batches here(images, options), there(images.to(fake_device::device()), options);
    for (int epoch = 0; epoch < 2; ++epoch) {
      std::vector<data::Batch> expected;
      for (const auto& batch : here) expected.push_back(batch);
      std::vector<data::Batch> found;
      fake_device::clear();
      for (const auto& batch : there) found.push_back(batch);
      const auto log = fake_device::log();

      REQUIRE(found.size() == expected.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(torch::equal(found[i].target.cpu(), expected[i].target));
        CHECK(torch::allclose(found[i].input.cpu(), expected[i].input, 0, 1e-6));
      }
      // The first batch alone, then 16 at a time.
      const auto groups = 1 + (there.batches_per_epoch() - 1 + 15) / 16;
      CHECK(log.launches.at("aten::gather") == groups);
      CHECK(log.host_reads == std::vector<std::string>{});
    }
  }
}
