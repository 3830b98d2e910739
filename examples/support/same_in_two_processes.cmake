# SPDX-License-Identifier: Apache-2.0
# cmake -P same_in_two_processes.cmake -- program argument…: two processes (--distributed 2) say what one says, once, up to rounding: figures of three
# digits behind the point, such as 0.864, which differ by at most .02.

include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/after_dashes.cmake")

# said(WORDS FIGURES argument...): the program's output without its figures, and those, in thousandths.
function(said words figures)
  execute_process(COMMAND ${after_dashes} ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "exit code ${code}: ${after_dashes} ${ARGN}")
  endif()
  set(number "(-?)([0-9])[.]([0-9][0-9][0-9])")
  string(REGEX MATCHALL "${number}" found "${output}")
  set(thousandths "")
  foreach(figure IN LISTS found)
    string(REGEX REPLACE "${number}" "0 \\1 (1\\2\\3 - 10000)" expression "${figure}")
    string(REPLACE "0  (" "(" expression "${expression}")
    math(EXPR value "${expression}")
    list(APPEND thousandths ${value})
  endforeach()
  string(REGEX REPLACE " *${number}" "" rest "${output}")
  set(${words} "${rest}" PARENT_SCOPE)
  set(${figures} "${thousandths}" PARENT_SCOPE)
endfunction()

said(words_of_one figures_of_one)
said(words_of_two figures_of_two --distributed 2)
if(NOT figures_of_one OR NOT words_of_two STREQUAL words_of_one)
  message(FATAL_ERROR "One process says\n${words_of_one}\ntwo say\n${words_of_two}")
endif()
foreach(one two IN ZIP_LISTS figures_of_one figures_of_two)
  math(EXPR difference "${one} - (${two})")
  if(difference GREATER 20 OR difference LESS -20)
    message(FATAL_ERROR "In thousandths, one process says ${figures_of_one}, two say ${figures_of_two}")
  endif()
endforeach()
