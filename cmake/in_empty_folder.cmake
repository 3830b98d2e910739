# SPDX-License-Identifier: Apache-2.0
# cmake -D FOLDER=… -P in_empty_folder.cmake -- program argument…: runs the program in FOLDER, made anew; fails where the program fails.

file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")

include("${CMAKE_CURRENT_LIST_DIR}/after_dashes.cmake")

execute_process(COMMAND ${after_dashes} WORKING_DIRECTORY "${FOLDER}" RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit code ${code}: ${after_dashes}")
endif()
