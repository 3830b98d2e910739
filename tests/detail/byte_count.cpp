// SPDX-License-Identifier: Apache-2.0
#include <creditlib/detail/byte_count.hpp>
#include <limits>

#include "../test.hpp"

using creditlib::detail::byte_count;

TEST_CASE("bytes are the product of sizes and item", "[detail]") {
  CHECK(byte_count({}, 8) == 8);
  CHECK(byte_count({2, 3, 5}, 4) == 120);
  CHECK(byte_count({2, 0, 5}, 4) == 0);
  CHECK(byte_count({std::numeric_limits<std::int64_t>::max()}, 1) == std::numeric_limits<std::int64_t>::max());
}

TEST_CASE("bytes, or strides, that do not fit in 64 bits are nothing", "[detail]") {
  constexpr std::int64_t half = std::int64_t{1} << 32;

  CHECK_FALSE(byte_count({half, half}, 1));
  CHECK_FALSE(byte_count({half / 2, half / 2}, 2));
  CHECK_FALSE(byte_count({std::numeric_limits<std::int64_t>::max()}, 2));
  CHECK_FALSE(byte_count({half, half, 0}, 1));
}
