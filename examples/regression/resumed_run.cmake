# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/regression -D FOLDER=… -P resumed_run.cmake: a run that is stopped and started again has the results of one that is not;
# started once more it does nothing; with another setting or another table it ends with an error.

set(settings --methods dfa vec --seeds 42 --width 16 --blocks 2 --batch-size 16 --threads 1)
set(file results_concrete.json)

include("${CMAKE_CURRENT_LIST_DIR}/../support/resumed_run.cmake")

# results(VARIABLE RUN): the figures, times left out.
function(results variable run)
  file(READ "${FOLDER}/${run}/${file}" text)
  set(figures "")
  foreach(method dfa vec)
    foreach(key test_rmse test_r2 gamma_by_block)
      string(JSON value GET "${text}" 42 ${method} ${key})
      string(APPEND figures "${method} ${key} ${value}\n")
    endforeach()
    foreach(key train_loss test_rmse)
      string(JSON value GET "${text}" 42 ${method} log ${key})
      string(APPEND figures "${method} log ${key} ${value}\n")
    endforeach()
  endforeach()
  set(${variable} "${figures}" PARENT_SCOPE)
endfunction()

run(0 "vec +[0-9.]+ +[0-9.]+" --epochs 15 --output_dir "${FOLDER}/whole" --tensorboard "${FOLDER}/live")
expect_metrics(vec_seed_42 15 test_rmse)

stop_with(checkpoint_concrete_vec_s42 --epochs 15)

run(1 "holds results of other settings \\(epochs is 15 there, 16 here\\): use another --output_dir, or --retrain" --epochs 16 --output_dir
    "${FOLDER}/parts")
file(MAKE_DIRECTORY "${FOLDER}/other")
file(WRITE "${FOLDER}/other/concrete.csv" "a,compressive_strength\n1,2\n2,3\n3,5\n4,4\n5,7\n6,7\n7,9\n8,8\n9,9\n10,12\n")
run(1 "holds results of other settings \\(table is" --epochs 15 --table "${FOLDER}/other/concrete.csv" --output_dir "${FOLDER}/parts")
run(0 "dfa, seed 42: finished before, kept.*vec, seed 42: goes on after epoch [0-9]+ of 15" --epochs 15 --output_dir "${FOLDER}/parts")
expect_same_results()

expect_nothing_to_do("dfa, seed 42: finished before, kept.*vec, seed 42: finished before, kept" --epochs 15)
