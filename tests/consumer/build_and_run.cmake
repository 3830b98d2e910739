# SPDX-License-Identifier: Apache-2.0
# cmake -D SOURCE=folder -D BINARY=folder -P build_and_run.cmake -- argument…
# Configures an outside project with those arguments, in an empty folder and without what the environment may say of LibTorch; builds it, and runs
# its tests, or its program if it has none.

include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/after_dashes.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

foreach(name CREDITLIB_LIBTORCH Torch_DIR CMAKE_PREFIX_PATH VIRTUAL_ENV CONDA_PREFIX)
  unset(ENV{${name}})
endforeach()
find_program(ccache ccache)
if(ccache) # the second time the compiler has nothing to do, precompiled headers included
  set(ENV{CMAKE_CXX_COMPILER_LAUNCHER} "${ccache}")
  set(ENV{CCACHE_SLOPPINESS} pch_defines,time_macros,include_file_mtime,include_file_ctime)
endif()

file(REMOVE_RECURSE "${BINARY}")
run("${CMAKE_COMMAND}" -S "${SOURCE}" -B "${BINARY}" ${after_dashes})
run("${CMAKE_COMMAND}" --build "${BINARY}")
if(EXISTS "${BINARY}/CTestTestfile.cmake")
  run("${CMAKE_CTEST_COMMAND}" --test-dir "${BINARY}" --output-on-failure --no-tests=error)
else()
  run("${BINARY}/program")
endif()
