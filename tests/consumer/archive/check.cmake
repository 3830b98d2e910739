# SPDX-License-Identifier: Apache-2.0
# cmake -D SOURCE=creditlib -D BINARY=folder -D GIT=git -D LIBTORCH=folder -P check.cmake -- argument…
# A source archive, as git archive makes it of the last commit: all of it configures, with those arguments and without git, also in the repository of
# somebody else, and its programs name the commit.

include("${CMAKE_CURRENT_LIST_DIR}/../../../cmake/after_dashes.cmake")

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "exit code ${code}: ${ARGN}\n${said}")
  endif()
  string(STRIP "${said}" said)
  set(said "${said}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${BINARY}")
file(MAKE_DIRECTORY "${BINARY}/repository/creditlib")
run("${GIT}" init -q "${BINARY}/repository")
run("${GIT}" -C "${SOURCE}" archive --format=tar -o "${BINARY}/creditlib.tar" HEAD)
run("${CMAKE_COMMAND}" -E chdir "${BINARY}/repository/creditlib" "${CMAKE_COMMAND}" -E tar xf "${BINARY}/creditlib.tar")

run("${CMAKE_COMMAND}" -S "${BINARY}/repository/creditlib" -B "${BINARY}/build" "-DCREDITLIB_LIBTORCH=${LIBTORCH}"
    -DCMAKE_DISABLE_FIND_PACKAGE_Git=ON ${after_dashes})
message("${said}")
run("${GIT}" -C "${SOURCE}" log -1 --format=%h)
file(READ "${BINARY}/build/generated/commit/creditlib_commit.hpp" header)
if(NOT header MATCHES "CREDITLIB_COMMIT \"${said}\"")
  message(FATAL_ERROR "The archive's programs do not name its commit ${said}:\n${header}")
endif()
