# SPDX-License-Identifier: Apache-2.0
# cmake -D CODE=… -D SAYS=… -P refuses.cmake -- program argument…: fails unless the program ends with this exit code and says what the regular
# expression SAYS matches on standard error, at a length that one reads.

include("${CMAKE_CURRENT_LIST_DIR}/after_dashes.cmake")

execute_process(COMMAND ${after_dashes} RESULT_VARIABLE code OUTPUT_QUIET ERROR_VARIABLE said)
if(NOT code EQUAL CODE)
  message(FATAL_ERROR "exit code ${code}, expected ${CODE}: ${after_dashes}\n${said}")
endif()
if(NOT said MATCHES "${SAYS}")
  message(FATAL_ERROR "expected \"${SAYS}\" in what ${after_dashes} says:\n${said}")
endif()
string(LENGTH "${said}" length)
if(length GREATER 600)
  message(FATAL_ERROR "${length} characters, which nobody reads: ${after_dashes}\n${said}")
endif()
