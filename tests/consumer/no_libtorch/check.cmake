# SPDX-License-Identifier: Apache-2.0
# cmake -D SOURCE=creditlib -D BINARY=folder -P check.cmake: what CMake says where there is no LibTorch, or one that cannot be used.

file(REMOVE_RECURSE "${BINARY}")

# A LibTorch in all but its contents, of a version that is too old, and one whose library is not for this machine's loader.
foreach(version 3 11)
  set(folder "${BINARY}/libtorch_2_${version}")
  file(WRITE "${folder}/include/torch/csrc/api/include/torch/torch.h" "")
  file(WRITE "${folder}/include/torch/csrc/api/include/torch/version.h"
       "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR ${version}\n#define TORCH_VERSION_PATCH 0\n")
  file(WRITE "${folder}/lib/libtorch_cpu.so" "")
endforeach()

set(failures 0)
# expect(name of the case; fragments that the output must have; then cmake's arguments)
function(expect name fragments)
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -E env --unset=CREDITLIB_LIBTORCH --unset=Torch_DIR --unset=CMAKE_PREFIX_PATH --unset=VIRTUAL_ENV
            --unset=CONDA_PREFIX PATH=/nowhere "${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}" -B "${BINARY}/build_${name}"
            -D CMAKE_MAKE_PROGRAM=/bin/true -D CMAKE_SYSTEM_PROGRAM_PATH=/nowhere -D CMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF
            "-DCREDITLIB_SOURCE=${SOURCE}" ${ARGN}
    RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  message("--- ${name}: exit code ${code}\n${output}")
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  foreach(fragment IN LISTS fragments)
    string(FIND "${output}" "${fragment}" at)
    if(code EQUAL 0 OR at EQUAL -1)
      message("FAILED: ${name}: cmake succeeded, or does not say: ${fragment}")
      math(EXPR failures "${failures} + 1")
    endif()
  endforeach()
  set(failures ${failures} PARENT_SCOPE)
endfunction()

expect(none "needs LibTorch 2.11 or newer and found none;pip install;-DCMAKE_PREFIX_PATH;-DTorch_DIR;./run setup")
expect(not_there "what was named is not that;named by CREDITLIB_LIBTORCH: no LibTorch in /not/there" -DCREDITLIB_LIBTORCH=/not/there)
expect(too_old "libtorch_2_3 is LibTorch 2.3.0, too old" "-DTorch_DIR=${BINARY}/libtorch_2_3/share/cmake/Torch")
expect(too_old_prefix "in CMAKE_PREFIX_PATH:;libtorch_2_3 is LibTorch 2.3.0, too old;found none" "-DCMAKE_PREFIX_PATH=${BINARY}/libtorch_2_3")
expect(no_cuda "CREDITLIB_CUDA is ON, but;is a LibTorch for the CPU only" "-DCREDITLIB_LIBTORCH=${BINARY}/libtorch_2_11" -DCREDITLIB_CUDA=ON)

if(failures)
  message(FATAL_ERROR "${failures} expectations failed")
endif()
