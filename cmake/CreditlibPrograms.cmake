# SPDX-License-Identifier: Apache-2.0
# What tests, examples and benchmarks share: warnings, the precompiled header, ccache, how many compile at once, smoke tests.

include(CreditlibCompileJobs)
set_property(GLOBAL PROPERTY JOB_POOLS creditlib_compile=${creditlib_compile_jobs} creditlib_link=1)
set(CMAKE_JOB_POOL_COMPILE creditlib_compile)
set(CMAKE_JOB_POOL_LINK creditlib_link)

set(CMAKE_CXX_EXTENSIONS OFF)
find_package(nlohmann_json REQUIRED) # creditlib/io/json_file.hpp

find_program(CREDITLIB_CCACHE ccache)
if(CREDITLIB_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # What ccache needs to be told before it caches anything that uses a precompiled header; and that a second clone may use what the first compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1
    "${CREDITLIB_CCACHE}")
  set(creditlib_with_ccache TRUE)
endif()

set(creditlib_warnings
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wold-style-cast -Wcast-qual -Wnon-virtual-dtor -Woverloaded-virtual)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU") # clang's also reports what a nested class cannot see, such as the enclosing class's members
  list(APPEND creditlib_warnings -Wshadow)
endif()
if(CREDITLIB_WARNINGS_AS_ERRORS)
  list(APPEND creditlib_warnings -Werror)
endif()

# g++ collects garbage from 128 MB on, a fifth of its time on LibTorch's headers; a file takes 1.4 GB even so.
set(creditlib_compiler_memory "")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(creditlib_compiler_memory --param=ggc-min-heapsize=1048576)
endif()

# creditlib_program_options(target [precompiled]): the options of every program of the project. They are the same for all, and must
# be, since all share one precompiled header; test programs share another, that of the target `precompiled`.
function(creditlib_program_options target)
  set(precompiled creditlib_precompiled)
  if(ARGC GREATER 1)
    set(precompiled ${ARGV1})
  endif()
  target_link_libraries(${target} PRIVATE creditlib::creditlib nlohmann_json::nlohmann_json)
  target_compile_options(${target} PRIVATE ${creditlib_warnings} ${creditlib_compiler_memory})
  if(CREDITLIB_PRECOMPILE)
    if(creditlib_with_ccache AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(${target} PRIVATE -fpch-preprocess)
    endif()
    if(NOT target STREQUAL precompiled)
      target_precompile_headers(${target} REUSE_FROM ${precompiled})
    endif()
  endif()
endfunction()

# creditlib_precompiled_header(target header...): an object library with a precompiled header, for others to reuse.
function(creditlib_precompiled_header target)
  string(REGEX REPLACE "^creditlib_" "" name "${target}")
  set(source "${CMAKE_BINARY_DIR}/generated/${name}.cpp")
  file(GENERATE OUTPUT "${source}" CONTENT "// Only here so that the precompiled header has a target.\n")
  add_library(${target} OBJECT "${source}")
  target_precompile_headers(${target} PRIVATE ${ARGN})
  creditlib_program_options(${target} ${target})
endfunction()

# LibTorch's umbrella header takes 16 s a file; precompiled (30 to 60 s, once) 4 s.
if(CREDITLIB_PRECOMPILE)
  creditlib_precompiled_header(creditlib_precompiled <torch/torch.h>)
endif()

# The benchmarks' counter of operations, which tests hold too.
add_library(creditlib_flop_counter STATIC EXCLUDE_FROM_ALL "${PROJECT_SOURCE_DIR}/bench/support/flop.cpp")
creditlib_program_options(creditlib_flop_counter)
target_include_directories(creditlib_flop_counter PRIVATE "${PROJECT_SOURCE_DIR}/bench")
set_target_properties(creditlib_flop_counter PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)
target_compile_definitions(creditlib_flop_counter PRIVATE NDEBUG)

# creditlib_environment(test...): how tests run. GNU OpenMP's threads must not spin while another program wants the core. No test but CUDA's own
# sees a GPU: --device auto would take it, and runs that are equal to the bit on the CPU need not be there.
set(creditlib_test_environment OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=-1)
function(creditlib_environment)
  set_property(TEST ${ARGN} APPEND PROPERTY ENVIRONMENT ${creditlib_test_environment})
endfunction()

# creditlib_smoke_test(target [NAME name] [TIMEOUT seconds] [ARGS argument...]): one short iteration of a program under ctest, in a folder of its
# own that is emptied before. {folder} in an argument stands for that folder.
function(creditlib_smoke_test target)
  if(NOT CREDITLIB_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 smoke "" "NAME;TIMEOUT" "ARGS")
  if(NOT smoke_NAME)
    set(smoke_NAME ${target})
  endif()
  if(NOT smoke_TIMEOUT)
    set(smoke_TIMEOUT 300)
  endif()
  set(folder "${CMAKE_BINARY_DIR}/smoke/${smoke_NAME}")
  string(REPLACE "{folder}" "${folder}" arguments "${smoke_ARGS}")
  add_test(NAME smoke/${smoke_NAME} COMMAND "${CMAKE_COMMAND}" -D "FOLDER=${folder}" -P "${PROJECT_SOURCE_DIR}/cmake/in_empty_folder.cmake"
                                            -- $<TARGET_FILE:${target}> ${arguments})
  set_tests_properties(smoke/${smoke_NAME} PROPERTIES LABELS smoke TIMEOUT ${smoke_TIMEOUT})
  creditlib_environment(smoke/${smoke_NAME})
  set_property(GLOBAL APPEND PROPERTY creditlib_smoke_tested ${target})
endfunction()

# creditlib_refusal_test(target NAME name SAYS regex [CODE code] ARGS argument...): what the program must not take ends with an exit code (2) and
# a sentence on standard error.
function(creditlib_refusal_test target)
  if(NOT CREDITLIB_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 refused "" "NAME;SAYS;CODE" "ARGS")
  if(NOT refused_CODE)
    set(refused_CODE 2)
  endif()
  add_test(NAME refused/${refused_NAME} COMMAND "${CMAKE_COMMAND}" -D "CODE=${refused_CODE}" -D "SAYS=${refused_SAYS}" -P
                                                "${PROJECT_SOURCE_DIR}/cmake/refuses.cmake" -- $<TARGET_FILE:${target}> ${refused_ARGS})
  set_tests_properties(refused/${refused_NAME} PROPERTIES LABELS smoke TIMEOUT 120)
  creditlib_environment(refused/${refused_NAME})
endfunction()

# creditlib_check_smoke_tests(target...): every program has a smoke test.
function(creditlib_check_smoke_tests)
  get_property(tested GLOBAL PROPERTY creditlib_smoke_tested)
  foreach(target IN LISTS ARGN)
    if(CREDITLIB_BUILD_TESTS AND NOT target IN_LIST tested)
      message(WARNING "${target} has no creditlib_smoke_test() in ${CMAKE_CURRENT_SOURCE_DIR}/CMakeLists.txt: nothing runs it under ctest.")
    endif()
  endforeach()
endfunction()
