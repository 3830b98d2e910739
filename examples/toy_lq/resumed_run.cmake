# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/toy_lq -D FOLDER=… -P resumed_run.cmake: a run that is stopped and started again has the results of one that is not;
# started once more it does nothing; with another setting it ends with an error.

set(settings --methods dfa vec --d 16 --L 3 --batch 16 --eval_samples 64 --ridge_samples 64 --threads 1 --checkpoint-every 2)
set(file toy_lq_L3_d16_s42.json)

include("${CMAKE_CURRENT_LIST_DIR}/../support/resumed_run.cmake")

# results(VARIABLE RUN): the figures, times left out.
function(results variable run)
  file(READ "${FOLDER}/${run}/${file}" text)
  set(figures "")
  foreach(key costate_cosine_per_layer rho_per_layer nudge_per_layer curve steps)
    string(JSON value GET "${text}" results vec ${key})
    string(APPEND figures "${key} ${value}\n")
  endforeach()
  set(${variable} "${figures}" PARENT_SCOPE)
endfunction()

run(0 "vec +-?[0-9.]+ +-?[0-9.]+" --steps 400 --output_dir "${FOLDER}/whole" --tensorboard "${FOLDER}/live")
expect_metrics(vec 20 costate_cosine)

stop_with(checkpoint_L3_d16_vec_s42 --steps 400)

run(1 "holds results of other settings \\(steps is 400 there, 401 here\\): use another --output_dir, or --retrain" --steps 401 --output_dir
    "${FOLDER}/parts")
run(0 "dfa: finished before, kept.*vec: goes on after step [0-9]+ of 400" --steps 400 --output_dir "${FOLDER}/parts")
expect_same_results()

expect_nothing_to_do("dfa: finished before, kept.*vec: finished before, kept" --steps 400)
