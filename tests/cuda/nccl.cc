// SPDX-License-Identifier: Apache-2.0
// What a group over NCCL says before it needs a GPU: that it compiles and links is the rest of this test.
//
// Not a .cpp: those are all in the one program of tests/, which is built without CUDA's headers.

#include <creditlib/distributed/nccl.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

using namespace creditlib;

namespace {

int failures = 0;

void check(bool holds, const std::string& what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what.c_str());
  ++failures;
}

std::string refusal() {
  try {
    distributed::nccl_from_environment();
  } catch (const Error& error) {
    return error.what();
  }
  return "(nothing was thrown)";
}

}  // namespace

int main() {
  for (const char* name : {"RANK", "WORLD_SIZE", "LOCAL_RANK"}) unsetenv(name);
  check(distributed::nccl_from_environment()->size() == 1, "without torchrun's variables a process is alone");

  setenv("WORLD_SIZE", "2", 1);
  check(refusal().find("RANK is not set") != std::string::npos, "a missing RANK: " + refusal());

  for (const auto& [name, value] : {std::pair{"RANK", "0"}, {"MASTER_ADDR", "localhost"}, {"MASTER_PORT", "29500"}}) {
    setenv(name, value, 1);
  }
  setenv("LOCAL_RANK", "1000", 1);
  const bool has_device = c10::cuda::device_count() > 0;
  check(refusal().find(has_device ? "LOCAL_RANK is \"1000\"" : "no CUDA device") != std::string::npos,
        "a device that is not there: " + refusal());

  std::printf("%s\n", failures == 0 ? "passed" : "failed");
  return failures == 0 ? 0 : 1;
}
