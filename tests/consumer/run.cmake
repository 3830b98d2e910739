# SPDX-License-Identifier: Apache-2.0
# run(command argument...): runs it, and ends with an error if it does.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "exit code ${code}: ${ARGN}")
  endif()
endfunction()
