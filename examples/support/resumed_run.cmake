# SPDX-License-Identifier: Apache-2.0
# Shared by the tests of resumed runs: PROGRAM is the program, `settings` its arguments in every run, FOLDER, emptied here, holds the run in
# parts and the whole one, `file` is the name of their results, and results(VARIABLE RUN) gives the figures of one of them.

file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}/whole" "${FOLDER}/parts")

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

# sh -c "${stopping}" sh CHECKPOINT PROGRAM argument...: stops a run, as Ctrl-C does, as soon as there is a checkpoint CHECKPOINT.epochE.stepS.
set(stopping [=[
checkpoint=$1; shift
"$@" & program=$!
while ! ls "$checkpoint".*.json >/dev/null 2>&1 && kill -0 $program 2>/dev/null; do sleep 0.02; done
kill -TERM $program
wait $program
]=])

# stop_with(CHECKPOINT argument...): a run in parts, stopped as soon as CHECKPOINT is there. It says how to go on, and from which step: the newest of
# its checkpoints is of the step's end.
function(stop_with checkpoint)
  execute_process(COMMAND sh -c "${stopping}" sh "${FOLDER}/parts/${checkpoint}" "${PROGRAM}" ${settings} ${ARGN} --output_dir "${FOLDER}/parts"
                  RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 130 OR NOT output MATCHES "the same command goes on after step ([0-9]+), from ([^\n]*[.]epoch[0-9]+[.]step([0-9]+)[.]pt)")
    message(FATAL_ERROR "exit code ${code}, expected 130 and a checkpoint ${checkpoint}:\n${output}")
  endif()
  if(NOT CMAKE_MATCH_1 EQUAL CMAKE_MATCH_3 OR NOT EXISTS "${CMAKE_MATCH_2}")
    message(FATAL_ERROR "There is no ${CMAKE_MATCH_2} of step ${CMAKE_MATCH_1}.")
  endif()
endfunction()

# newest_checkpoints(VARIABLE CHECKPOINT): the files CHECKPOINT.epochE.stepS.pt of the run in parts, the oldest first.
function(newest_checkpoints variable checkpoint)
  file(GLOB found "${FOLDER}/parts/${checkpoint}.*.pt")
  list(SORT found COMPARE NATURAL)
  set(${variable} "${found}" PARENT_SCOPE)
endfunction()

# The finished run in parts has the results of the whole one, and has left no checkpoint.
function(expect_same_results)
  results(whole whole)
  results(parts parts)
  if(NOT parts STREQUAL whole)
    message(FATAL_ERROR "The run in two parts has other results than the whole one.\nwhole: ${whole}\nparts: ${parts}")
  endif()
  file(GLOB left "${FOLDER}/parts/checkpoint_*")
  if(left)
    message(FATAL_ERROR "The finished run has left ${left}")
  endif()
endfunction()

# expect_metrics(RUN LINES KEY): --tensorboard ${FOLDER}/live has an event file of the run, and metrics.jsonl with so many lines, KEY in each.
function(expect_metrics run count key)
  file(STRINGS "${FOLDER}/live/${run}/metrics.jsonl" lines)
  file(GLOB events "${FOLDER}/live/${run}/events.out.tfevents.*")
  list(LENGTH lines found)
  if(NOT found EQUAL count OR NOT events)
    message(FATAL_ERROR "metrics.jsonl of ${run} has ${found} lines, expected ${count}; event files: ${events}")
  endif()
  foreach(line IN LISTS lines)
    string(JSON value GET "${line}" ${key})
  endforeach()
endfunction()

# expect_nothing_to_do(EXPECTED_TEXT argument...): one more run in parts says so and changes nothing.
function(expect_nothing_to_do text)
  file(READ "${FOLDER}/parts/${file}" before)
  run(0 "${text}" ${ARGN} --output_dir "${FOLDER}/parts")
  file(READ "${FOLDER}/parts/${file}" after)
  if(NOT after STREQUAL before)
    message(FATAL_ERROR "A run with nothing to do has changed ${FOLDER}/parts/${file}")
  endif()
endfunction()
