# SPDX-License-Identifier: Apache-2.0
# cmake -D SOURCE=creditlib -D BINARY=folder -D CONAN=conan -D LIBTORCH=folder -D COMPILER=g++ -P check.cmake
# conan create makes the package, and builds and runs its test: in a home of its own, without a network, with the libraries of the system.

file(REMOVE_RECURSE "${BINARY}")
set(ENV{CONAN_HOME} "${BINARY}/home")
set(ENV{CXX} "${COMPILER}")
set(ENV{CREDITLIB_LIBTORCH} "${LIBTORCH}")
foreach(name Torch_DIR CMAKE_PREFIX_PATH VIRTUAL_ENV CONDA_PREFIX)
  unset(ENV{${name}})
endforeach()

function(conan)
  execute_process(COMMAND "${CONAN}" ${ARGN} WORKING_DIRECTORY "${BINARY}" RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "exit code ${code}: conan ${ARGN}")
  endif()
endfunction()

# The system's libraries stand in for Conan's packages of these versions.
file(WRITE "${BINARY}/system" "include(default)
[platform_requires]
nlohmann_json/3.11.2
zlib/1.2.13
libpng/1.6.39
libjpeg-turbo/2.1.5
[options]
creditlib/*:with_images=True
[conf]
tools.cmake.cmaketoolchain:generator=Ninja
tools.cmake.cmake_layout:test_folder=${BINARY}/test
")
conan(profile detect)
conan(create "${SOURCE}/packaging/conan" --no-remote --profile system)
