// SPDX-License-Identifier: Apache-2.0
#include <creditlib/version.hpp>
#include <string>

#include "test.hpp"

TEST_CASE("version.hpp names the version of the CMake project", "[version]") {
  CHECK(CREDITLIB_VERSION == std::string(CREDITLIB_PROJECT_VERSION));
}

TEST_CASE("The version's numbers are those of its string", "[version]") {
  CHECK(CREDITLIB_VERSION == std::to_string(CREDITLIB_VERSION_MAJOR) + "." + std::to_string(CREDITLIB_VERSION_MINOR) +
                                 "." + std::to_string(CREDITLIB_VERSION_PATCH));
}
