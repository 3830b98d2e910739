// SPDX-License-Identifier: Apache-2.0
#include <ATen/Version.h>

#include <creditlib/version.hpp>
#include <iostream>

/// Where only the way to creditlib is tested, a program that compiles in seconds: it has a header of creditlib's and
/// one of LibTorch's, and needs LibTorch's library.
int main() {
  std::cout << "creditlib " << CREDITLIB_VERSION << "\n" << at::show_config();
  return at::show_config().empty() ? 1 : 0;
}
