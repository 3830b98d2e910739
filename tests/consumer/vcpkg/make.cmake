# SPDX-License-Identifier: Apache-2.0
# cmake -D SOURCE=creditlib -D BINARY=folder -D VERSION=version -P make.cmake -- argument…
# What the steps of vcpkg's port make, in BINARY/package, with its default features. vcpkg's own functions are stood in for by what they come to for
# this port; the arguments are CMake's.

cmake_minimum_required(VERSION 3.23)

include("${CMAKE_CURRENT_LIST_DIR}/../../../cmake/after_dashes.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/../run.cmake")
set(arguments "${after_dashes}")

set(PORT creditlib)
set(CURRENT_PORT_DIR "${SOURCE}/packaging/vcpkg/creditlib")
set(CURRENT_PACKAGES_DIR "${BINARY}/package")
file(REMOVE_RECURSE "${BINARY}")

# elements(json key variable): the names below `key`, or its texts if it is a list.
function(elements json key variable)
  string(JSON type TYPE "${json}" ${key})
  string(JSON count LENGTH "${json}" ${key})
  set(all "")
  foreach(i RANGE 1 ${count})
    math(EXPR i "${i} - 1")
    if(type STREQUAL "ARRAY")
      string(JSON element GET "${json}" ${key} ${i})
    else()
      string(JSON element MEMBER "${json}" ${key} ${i})
    endif()
    list(APPEND all "${element}")
  endforeach()
  set(${variable} "${all}" PARENT_SCOPE)
endfunction()

file(READ "${CURRENT_PORT_DIR}/vcpkg.json" port)
string(JSON version GET "${port}" version-semver)
if(NOT version STREQUAL VERSION)
  message(FATAL_ERROR "packaging/vcpkg/creditlib/vcpkg.json says version ${version}, and CMakeLists.txt ${VERSION}.")
endif()
elements("${port}" features all_features)
elements("${port}" default-features FEATURES)

function(vcpkg_check_features of variable inverted)
  set(pairs ${ARGN})
  set(options "")
  while(pairs)
    list(POP_FRONT pairs feature option)
    if(NOT feature IN_LIST all_features)
      message(FATAL_ERROR "The portfile has a feature ${feature}, which is not in vcpkg.json.")
    endif()
    if(NOT feature IN_LIST FEATURES)
      list(APPEND options "-D${option}=ON")
    endif()
  endwhile()
  set(${variable} "${options}" PARENT_SCOPE)
endfunction()

function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 port "" "SOURCE_PATH" "OPTIONS")
  run("${CMAKE_COMMAND}" -S "${port_SOURCE_PATH}" -B "${BINARY}/build" ${arguments} "-DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR}"
      -DCMAKE_INSTALL_LIBDIR=lib ${port_OPTIONS})
endfunction()

function(vcpkg_cmake_install)
  run("${CMAKE_COMMAND}" --install "${BINARY}/build")
endfunction()

function(vcpkg_cmake_config_fixup path folder)
  file(MAKE_DIRECTORY "${CURRENT_PACKAGES_DIR}/share")
  file(RENAME "${CURRENT_PACKAGES_DIR}/${folder}" "${CURRENT_PACKAGES_DIR}/share/${PORT}")
  file(GLOB files "${CURRENT_PACKAGES_DIR}/share/${PORT}/*.cmake")
  set(up "get_filename_component(_IMPORT_PREFIX \"\${_IMPORT_PREFIX}\" PATH)\n")
  foreach(file IN LISTS files)
    file(READ "${file}" text)
    string(REPLACE "/../../../\" ABSOLUTE" "/../../\" ABSOLUTE" text "${text}")
    string(REPLACE "${up}${up}" "${up}" text "${text}")
    file(WRITE "${file}" "${text}")
  endforeach()
endfunction()

function(vcpkg_install_copyright files file)
  configure_file("${file}" "${CURRENT_PACKAGES_DIR}/share/${PORT}/copyright" COPYONLY)
endfunction()

include("${CURRENT_PORT_DIR}/portfile.cmake")
