# SPDX-License-Identifier: Apache-2.0
# cmake -P learns.cmake -- program argument…: before and after both learn the digits, and after does not by back-propagation: that has the
# loss of before in the first epoch, since weights and batches are the same.

include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/after_dashes.cmake")

execute_process(COMMAND ${after_dashes} RESULT_VARIABLE code OUTPUT_VARIABLE said)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit code ${code}: ${after_dashes}")
endif()
string(REGEX REPLACE "after: .*" "" before "${said}")
string(REGEX REPLACE ".*after: " "" after "${said}")

# number(variable key at text): the number behind the first (at = 0) or the last (-1) key.
function(number variable key at text)
  string(REGEX MATCHALL "${key} [0-9.]+" found "${text}")
  list(GET found ${at} number)
  string(REPLACE "${key} " "" number "${number}")
  set(${variable} "${number}" PARENT_SCOPE)
endfunction()
foreach(run before after)
  number(${run}_loss "training loss" 0 "${${run}}")
  number(${run}_accuracy "test accuracy" -1 "${${run}}")
endforeach()

if(NOT before_accuracy GREATER 0.93 OR NOT after_accuracy GREATER 0.85)
  message(FATAL_ERROR "expected accuracies above .93 before and .85 after:\n${said}")
endif()
if(after_loss EQUAL before_loss)
  message(FATAL_ERROR "after trains as before, by back-propagation:\n${said}")
endif()
