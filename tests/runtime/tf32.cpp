// SPDX-License-Identifier: Apache-2.0
#include <creditlib/runtime/tf32.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("TF32 is on or off for convolutions and products alike", "[runtime]") {
  const auto before = runtime::tf32_in_use();
  CHECK(before.convolutions);  // as LibTorch comes
  CHECK_FALSE(before.products);

  runtime::use_tf32(false);
  CHECK_FALSE(runtime::tf32_in_use().convolutions);
  CHECK_FALSE(runtime::tf32_in_use().products);
  runtime::use_tf32(true);
  CHECK(runtime::tf32_in_use().convolutions);
  CHECK(runtime::tf32_in_use().products);

  at::globalContext().setAllowTF32CuDNN(before.convolutions);
  at::globalContext().setAllowTF32CuBLAS(before.products);
}
