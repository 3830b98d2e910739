# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/weight_transport -D FOLDER=… -P resumed_run.cmake: a run that is stopped and started again has the results of one that is not;
# started once more it does nothing; with another setting it ends with an error.

set(settings --dataset digits --methods frsf wm --seeds 42 --width 32 --batch-size 32 --threads 1) # wm draws noise in every step
set(file results_digits.json)
set(epochs 20)

file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}/whole" "${FOLDER}/parts")

include("${CMAKE_CURRENT_LIST_DIR}/../support/resumed_run.cmake")

# results(VARIABLE RUN): the figures, times left out.
function(results variable run)
  file(READ "${FOLDER}/${run}/${file}" text)
  set(figures "")
  foreach(method frsf wm)
    foreach(key test_acc angles)
      string(JSON value GET "${text}" 42 ${method} ${key})
      string(APPEND figures "${method} ${key} ${value}\n")
    endforeach()
    foreach(key train_loss test_acc angles)
      string(JSON value GET "${text}" 42 ${method} log ${key})
      string(APPEND figures "${method} log ${key} ${value}\n")
    endforeach()
  endforeach()
  set(${variable} "${figures}" PARENT_SCOPE)
endfunction()

run(0 "wm +[0-9.]+ +[0-9.]+" --epochs ${epochs} --output_dir "${FOLDER}/whole")
results(whole whole)

# Stopped as by Ctrl-C as soon as there is a checkpoint.
set(checkpoint "${FOLDER}/parts/checkpoint_digits_wm_s42.pt")
execute_process(COMMAND sh -c "${stopping}" sh "${checkpoint}" "${PROGRAM}" ${settings} --epochs ${epochs} --output_dir "${FOLDER}/parts"
                RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT code EQUAL 130 OR NOT EXISTS "${checkpoint}")
  message(FATAL_ERROR "exit code ${code}, expected 130 and a checkpoint ${checkpoint}:\n${output}")
endif()

run(1 "holds results of other settings \\(epochs is ${epochs} there, 21 here\\): use another --output_dir, or --retrain" --epochs 21 --output_dir
    "${FOLDER}/parts")
run(0 "frsf, seed 42: finished before, kept.*wm, seed 42: goes on after epoch [0-9]+ of ${epochs}" --epochs ${epochs} --output_dir "${FOLDER}/parts")
results(parts parts)
if(NOT parts STREQUAL whole)
  message(FATAL_ERROR "The run in two parts has other results than the whole one.\nwhole: ${whole}\nparts: ${parts}")
endif()
file(GLOB left "${FOLDER}/parts/checkpoint_*")
if(left)
  message(FATAL_ERROR "The finished run has left ${left}")
endif()

file(READ "${FOLDER}/parts/${file}" before)
run(0 "frsf, seed 42: finished before, kept.*wm, seed 42: finished before, kept" --epochs ${epochs} --output_dir "${FOLDER}/parts")
file(READ "${FOLDER}/parts/${file}" after)
if(NOT after STREQUAL before)
  message(FATAL_ERROR "A run with nothing to do has changed ${FOLDER}/parts/${file}")
endif()
