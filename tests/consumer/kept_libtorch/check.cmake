# SPDX-License-Identifier: Apache-2.0
# cmake -D SOURCE=creditlib -D BINARY=folder -D COMPILER=c++ -P check.cmake: a build folder keeps its LibTorch, in whatever environment CMake runs
# again, until another is named.

file(REMOVE_RECURSE "${BINARY}")

# Three that pass for LibTorch.
foreach(name a b c)
  set(folder "${BINARY}/${name}")
  file(WRITE "${folder}/include/torch/csrc/api/include/torch/torch.h" "")
  file(WRITE "${folder}/include/torch/csrc/api/include/torch/version.h"
       "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n#define TORCH_VERSION_PATCH 0\n")
  file(WRITE "${folder}/lib/libtorch_cpu.so" "")
endforeach()

set(failures 0)
# expect(which one it takes; the environment's CREDITLIB_LIBTORCH, or nothing; then cmake's arguments)
function(expect taken environment)
  set(ENV{CREDITLIB_LIBTORCH} "${environment}")
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -E env --unset=Torch_DIR --unset=CMAKE_PREFIX_PATH --unset=VIRTUAL_ENV --unset=CONDA_PREFIX
            "${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}" -B "${BINARY}/build" "-DCREDITLIB_SOURCE=${SOURCE}"
            "-DCMAKE_CXX_COMPILER=${COMPILER}" ${ARGN}
    RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(FIND "${output}" " in ${BINARY}/${taken}, " at)
  if(NOT code EQUAL 0 OR at EQUAL -1)
    message("FAILED: with ${environment} in the environment and ${ARGN}, cmake does not take ${taken}:\n${output}")
    math(EXPR failures "${failures} + 1")
  endif()
  set(failures ${failures} PARENT_SCOPE)
endfunction()

expect(a "${BINARY}/a")
expect(a "")                                              # as when a build runs CMake again, in another shell
expect(b "${BINARY}/b")
expect(b "")
expect(a "" "-DCMAKE_PREFIX_PATH=${BINARY}/a")
expect(c "" "-DCREDITLIB_LIBTORCH=${BINARY}/c")
expect(c "${BINARY}/b")
expect(a "" -UCREDITLIB_LIBTORCH)
expect(b "${BINARY}/b")
file(REMOVE_RECURSE "${BINARY}/b")
expect(a "")

if(failures)
  message(FATAL_ERROR "${failures} expectations failed")
endif()
