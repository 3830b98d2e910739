# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/weight_transport -D FOLDER=… -P resumed_run.cmake: a run that is stopped and started again has the results of one that is not;
# started once more it does nothing; with another setting it ends with an error.

set(settings --dataset digits --methods frsf wm --seeds 42 --width 32 --batch-size 32 --threads 1) # wm draws noise in every step
set(file results_digits.json)
set(epochs 20)

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

run(0 "wm +[0-9.]+ +[0-9.]+" --epochs ${epochs} --output_dir "${FOLDER}/whole" --tensorboard "${FOLDER}/live")

stop_with(checkpoint_digits_wm_s42 --epochs ${epochs})

run(1 "holds results of other settings \\(epochs is ${epochs} there, 21 here\\): use another --output_dir, or --retrain" --epochs 21 --output_dir
    "${FOLDER}/parts")
run(0 "frsf, seed 42: finished before, kept.*wm, seed 42: goes on after epoch [0-9]+ of ${epochs}" --epochs ${epochs} --output_dir "${FOLDER}/parts")
expect_same_results()
expect_metrics(wm_seed_42 ${epochs} test_acc)

expect_nothing_to_do("frsf, seed 42: finished before, kept.*wm, seed 42: finished before, kept" --epochs ${epochs})
