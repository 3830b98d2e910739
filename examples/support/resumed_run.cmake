# SPDX-License-Identifier: Apache-2.0
# Shared by the tests of resumed runs: PROGRAM is the program, `settings` its arguments in every run.

# run(EXPECTED_CODE EXPECTED_TEXT argument...)
function(run code text)
  execute_process(COMMAND "${PROGRAM}" ${settings} ${ARGN} RESULT_VARIABLE found OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT found EQUAL code)
    message(FATAL_ERROR "exit code ${found}, expected ${code}, of ${ARGN}:\n${output}")
  endif()
  if(NOT output MATCHES "${text}")
    message(FATAL_ERROR "expected \"${text}\" in what ${ARGN} says:\n${output}")
  endif()
endfunction()

# sh -c "${stopping}" sh CHECKPOINT PROGRAM argument...: stops a run, as Ctrl-C does, as soon as there is a checkpoint.
set(stopping [=[
checkpoint=$1; shift
"$@" & program=$!
while [ ! -e "$checkpoint" ] && kill -0 $program 2>/dev/null; do sleep 0.02; done
kill -TERM $program
wait $program
]=])
