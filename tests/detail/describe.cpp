// SPDX-License-Identifier: Apache-2.0
#include <creditlib/detail/describe.hpp>

#include "../test.hpp"

using creditlib::detail::choice_text;
using creditlib::detail::dtype_text;
using creditlib::detail::tensor_text;

TEST_CASE("a dtype is named as in Python", "[detail]") {
  CHECK(dtype_text(torch::kUInt8) == "uint8");
  CHECK(dtype_text(torch::kUInt16) == "uint16");
  CHECK(dtype_text(torch::kUInt32) == "uint32");
  CHECK(dtype_text(torch::kUInt64) == "uint64");
  CHECK(dtype_text(torch::kInt8) == "int8");
  CHECK(dtype_text(torch::kInt16) == "int16");
  CHECK(dtype_text(torch::kInt32) == "int32");
  CHECK(dtype_text(torch::kInt64) == "int64");
  CHECK(dtype_text(torch::kFloat16) == "float16");
  CHECK(dtype_text(torch::kFloat32) == "float32");
  CHECK(dtype_text(torch::kFloat64) == "float64");
  CHECK(dtype_text(torch::kBFloat16) == "bfloat16");
  CHECK(dtype_text(torch::kBool) == "bool");
  CHECK(dtype_text(torch::kComplexFloat) == "complex64");
  CHECK(dtype_text(torch::kComplexDouble) == "complex128");
}

TEST_CASE("names to choose from are listed", "[detail]") {
  CHECK(choice_text({}).empty());
  CHECK(choice_text({"a"}) == "a");
  CHECK(choice_text({"a", "b"}) == "a or b");
  CHECK(choice_text({"a", "b", "c"}) == "a, b or c");
}

TEST_CASE("a tensor is described by its sizes, dtype and device", "[detail]") {
  CHECK(tensor_text(torch::empty({2, 3}, torch::kUInt16)) == "(2, 3) uint16 on cpu");
  CHECK(tensor_text(torch::empty({}, torch::kInt64)) == "() int64 on cpu");
  CHECK(tensor_text({}) == "undefined");
}
