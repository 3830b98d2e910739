# SPDX-License-Identifier: Apache-2.0
# cmake -D BINARY=folder [-D INCLUDE=folder] [-D PKG_CONFIG=pkg-config -D PREFIX=folder] -P compile_and_run.cmake -- compiler argument…
# A program built without CMake: calls the compiler, in an empty folder, and runs the program that it makes. With INCLUDE that folder is copied to
# BINARY/include before; with PKG_CONFIG the flags of the creditlib.pc below PREFIX follow the arguments.

include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/after_dashes.cmake")

function(run)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY "${BINARY}" RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "exit code ${code}: ${ARGN}")
  endif()
endfunction()

file(REMOVE_RECURSE "${BINARY}")
file(MAKE_DIRECTORY "${BINARY}")
if(INCLUDE)
  file(COPY "${INCLUDE}" DESTINATION "${BINARY}")
endif()
set(flags "")
if(PKG_CONFIG)
  file(GLOB_RECURSE pc "${PREFIX}/*/creditlib.pc")
  get_filename_component(folder "${pc}" DIRECTORY)
  set(ENV{PKG_CONFIG_PATH} "${folder}")
  execute_process(COMMAND "${PKG_CONFIG}" --cflags --libs creditlib OUTPUT_VARIABLE flags COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
endif()
run(${after_dashes} ${flags} -o program)
run("${BINARY}/program")
