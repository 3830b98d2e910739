# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/language_model -D FOLDER=… -P resumed_run.cmake: a run that is stopped and started again has the results of one that is not;
# started once more it does nothing; with another setting or another text it ends with an error.

set(settings --method vec --context 8 --width 16 --heads 2 --blocks 2 --batch-size 4 --eval-every 20 --threads 1)
set(file vec_s42.json)

include("${CMAKE_CURRENT_LIST_DIR}/../support/resumed_run.cmake")

# results(VARIABLE RUN): the figures, times left out.
function(results variable run)
  file(READ "${FOLDER}/${run}/${file}" text)
  set(figures "")
  foreach(key validation_bits_per_character gamma_by_block sample finished)
    string(JSON value GET "${text}" ${key})
    string(APPEND figures "${key} ${value}\n")
  endforeach()
  foreach(key train_bits_per_character validation_bits_per_character validation_bits_at_start step)
    string(JSON value GET "${text}" log ${key})
    string(APPEND figures "log ${key} ${value}\n")
  endforeach()
  set(${variable} "${figures}" PARENT_SCOPE)
endfunction()

run(0 "bits per character" --steps 310 --output_dir "${FOLDER}/whole" --tensorboard "${FOLDER}/live")
expect_metrics(vec_seed_42 16 validation_bits_per_character)

stop_with(checkpoint_vec_s42 --steps 310)

run(1 "holds results of other settings \\(steps is 310 there, 311 here\\): use another --output_dir, or --retrain" --steps 311 --output_dir
    "${FOLDER}/parts")
file(WRITE "${FOLDER}/other.txt" "Another text, and long enough for a window of eight characters and the next one: ninety at the least.")
run(1 "holds results of other settings \\(text is" --steps 310 --text "${FOLDER}/other.txt" --output_dir "${FOLDER}/parts")
run(0 "goes on after step [0-9]+ of 310" --steps 310 --output_dir "${FOLDER}/parts")
expect_same_results()

expect_nothing_to_do("vec, seed 42: finished before, kept" --steps 310)
