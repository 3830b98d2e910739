# SPDX-License-Identifier: Apache-2.0
# cmake -P help_fits.cmake -- program: its --help fits into 80 columns, and into those that COLUMNS names.

include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/after_dashes.cmake")

foreach(columns 80 100)
  set(ENV{COLUMNS} "")
  if(columns GREATER 80)
    set(ENV{COLUMNS} ${columns})
  endif()
  execute_process(COMMAND ${after_dashes} --help RESULT_VARIABLE code OUTPUT_VARIABLE help)
  if(NOT code EQUAL 0 OR NOT help MATCHES "--config FILE")
    message(FATAL_ERROR "exit code ${code}: ${after_dashes} --help\n${help}")
  endif()
  string(REPLACE ";" "," help "${help}")
  string(REGEX REPLACE "[][]" "|" help "${help}")  # which would hold a list's elements together
  string(REPLACE "\n" ";" help "${help}")
  foreach(line IN LISTS help)
    string(LENGTH "${line}" length)
    if(length GREATER columns)
      message(FATAL_ERROR "${length} columns, expected ${columns}:\n${line}")
    endif()
  endforeach()
endforeach()
