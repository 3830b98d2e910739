// SPDX-License-Identifier: Apache-2.0
#include <creditlib/normalizer/raw.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("Raw gives credit back as it is", "[normalizer]") {
  const auto a = torch::randn({3, 4});
  CHECK(torch::equal(Raw{}(a), a));
}
