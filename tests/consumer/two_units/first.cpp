// SPDX-License-Identifier: Apache-2.0
#include <creditlib/creditlib.hpp>

#include "parts.hpp"

std::string second_error();
std::string second_verdict();

int main() {
  torch::set_num_threads(1);
  if (verdict_of_parts() != "PASS, 3 hidden states" || second_verdict() != "PASS, 3 hidden states") return 1;
  try {
    creditlib::detail::fail("one error, thrown here and there");
  } catch (const creditlib::Error& error) {
    return error.what() == second_error() ? 0 : 1;
  }
  return 1;
}
