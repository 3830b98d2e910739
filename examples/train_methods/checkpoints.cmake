# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/train_methods -D FOLDER=… -P checkpoints.cmake: the newest checkpoints are kept; a damaged one is named, and the one before it is
# used; if all are damaged, or one is of a newer program, the run ends with an error.

set(method dfa)
set(file results_digits.json)
set(settings --dataset digits --methods dfa --seeds 42 --limit-train 256 --batch-size 32 --num_blocks 2 --d_hidden 64 --threads 1 --matmul mkl
             --epochs 200 --checkpoint-every 1 --keep-checkpoints 3)
set(checkpoint checkpoint_digits_dfa_s42)

include("${CMAKE_CURRENT_LIST_DIR}/../support/resumed_run.cmake")

# results(VARIABLE RUN): the figures of the method, times left out.
function(results variable run)
  file(READ "${FOLDER}/${run}/${file}" text)
  set(figures "")
  foreach(key log diagnostics steps finished)
    string(JSON value GET "${text}" 42 ${method} ${key})
    string(APPEND figures "${key} ${value}\n")
  endforeach()
  set(${variable} "${figures}" PARENT_SCOPE)
endfunction()

# stopped(VARIABLE): a run that was stopped after its fourth epoch; the JSON of its checkpoints, the oldest first.
function(stopped variable)
  stop_with(${checkpoint}.epoch4)
  file(GLOB found "${FOLDER}/parts/${checkpoint}.*.json")
  list(SORT found COMPARE NATURAL)
  list(LENGTH found count)
  if(NOT count EQUAL 3)
    message(FATAL_ERROR "--keep-checkpoints 3 has kept ${found}")
  endif()
  set(${variable} "${found}" PARENT_SCOPE)
endfunction()

run(0 "test accuracy" --output_dir "${FOLDER}/whole")

stopped(all)
list(GET all 2 newest)
list(GET all 1 before)
string(REGEX REPLACE "json$" "pt" tensors "${newest}")
file(WRITE "${tensors}" "damaged")
run(0 "is damaged: [^ ]*[.]pt has another checksum than when it was written[.] The one before it is used, ${before}.*dfa, seed 42: goes on after epoch"
    --output_dir "${FOLDER}/parts")
expect_same_results()

file(REMOVE "${FOLDER}/parts/${file}")
stopped(all)
foreach(json IN LISTS all)
  file(READ "${json}" text)
  string(REGEX REPLACE "\"format\": [0-9]+" "\"format\": 99" newer "${text}")
  file(WRITE "${json}" "${newer}")
endforeach()
run(1 "has format 99, and this program reads formats up to [0-9]+: go on with the newer program" --output_dir "${FOLDER}/parts")
foreach(json IN LISTS all)
  file(WRITE "${json}" "{")
endforeach()
run(1 "is not JSON.* There is none before it: train from the start with --retrain" --output_dir "${FOLDER}/parts")
run(0 "test accuracy" --output_dir "${FOLDER}/parts" --retrain)
expect_same_results()
