// SPDX-License-Identifier: Apache-2.0
#include <creditlib/creditlib.hpp>

#include "parts.hpp"

std::string second_verdict() { return verdict_of_parts(); }

std::string second_error() {
  try {
    creditlib::detail::fail("one error, thrown ", "here and there");
  } catch (const creditlib::Error& error) {
    return error.what();
  }
  return "";
}
