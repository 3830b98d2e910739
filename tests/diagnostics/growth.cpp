// SPDX-License-Identifier: Apache-2.0
#include <creditlib/diagnostics/growth.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using diagnostics::Measured;

TEST_CASE("growth is the quotient of neighbouring norms, or of norms now and at init", "[diagnostics]") {
  const std::vector<Measured> norms{{.value = 2}, {.value = 8}, {.value = 0}, {.value = 4}, {.reason = "why"}};

  const auto between = diagnostics::growth_between(norms);
  const auto since =
      diagnostics::growth_since(norms, {{.value = 1}, {.value = 2}, {.value = 2}, {.value = 0}, {.value = 1}});

  REQUIRE(between.size() == 4);
  CHECK(*between[0].value == 4);
  CHECK(*between[1].value == 0);
  CHECK(between[2].reason == "the norm to compare with is 0");
  CHECK(between[3].reason == "why");
  REQUIRE(since.size() == 5);
  CHECK(*since[0].value == 2);
  CHECK(*since[1].value == 4);
  CHECK_FALSE(since[3].value);
  CHECK(*diagnostics::largest(since).value == 4);
  CHECK(*diagnostics::smallest(since).value == 0);
  CHECK(diagnostics::largest({{.reason = "why"}}).reason == "why");
  CHECK_FALSE(diagnostics::smallest({}).value);
  CHECK(says(error_of([&] { diagnostics::growth_since(norms, {}); }), {"5 norms", "0 at init"}));
}
