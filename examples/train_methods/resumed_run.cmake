# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/train_methods -D FOLDER=… -P resumed_run.cmake: a run that is stopped and started again has the results of one that is not;
# started once more it does nothing; with another setting, or beside a run on the same file, it ends with an error; --retrain begins again.

set(method vec) # has nets, optimisers and a generator of its own
set(file results_digits.json)
set(settings --dataset digits --seeds 42 --limit-train 256 --batch-size 32 --num_blocks 2 --d_hidden 64 --threads 1 --matmul mkl
             --record_epochs)
set(epochs 60)

include("${CMAKE_CURRENT_LIST_DIR}/../support/resumed_run.cmake")

# results(VARIABLE RUN): the figures of the method, times left out.
function(results variable run)
  file(READ "${FOLDER}/${run}/${file}" text)
  set(figures "")
  foreach(key log diagnostics by_epoch transitions steps finished)
    string(JSON value GET "${text}" 42 ${method} ${key})
    string(APPEND figures "${key} ${value}\n")
  endforeach()
  set(${variable} "${figures}" PARENT_SCOPE)
endfunction()

run(0 "test accuracy" --epochs ${epochs} --methods ${method} --output_dir "${FOLDER}/whole")

file(READ "${FOLDER}/whole/${file}" text)
string(JSON recorded LENGTH "${text}" 42 ${method} by_epoch)
if(NOT recorded EQUAL epochs)
  message(FATAL_ERROR "--record_epochs has recorded ${recorded} of ${epochs} epochs")
endif()

set(live --tensorboard "${FOLDER}/live")
stop_with(checkpoint_digits_${method}_s42 --epochs ${epochs} --methods ${method} ${live})

run(1 "holds results of other settings \\(epochs is ${epochs} there, 61 here\\): use another --output_dir, or --retrain" --epochs 61 --methods
    ${method} --output_dir "${FOLDER}/parts")
run(0 "goes on after epoch [0-9]+ of ${epochs}" --epochs ${epochs} --methods ${method} --output_dir "${FOLDER}/parts" ${live})
expect_same_results()

# A line for each epoch, those that were trained again too, and an event file for each part.
file(STRINGS "${FOLDER}/live/vec_seed_42/metrics.jsonl" lines)
list(LENGTH lines count)
list(GET lines 9 tenth)
string(JSON epoch GET "${tenth}" epoch)
file(GLOB events "${FOLDER}/live/vec_seed_42/events.out.tfevents.*")
list(LENGTH events parts)
if(NOT count EQUAL epochs OR NOT epoch EQUAL 10 OR NOT parts EQUAL 2)
  message(FATAL_ERROR "metrics.jsonl has ${count} of ${epochs} lines, the tenth of epoch ${epoch}; there are ${parts} event files of 2 parts")
endif()

# A results file that a run is writing is no other's.
set(beside [=[
lock=$1; shift
"$@" >/dev/null 2>&1 & program=$!
while [ ! -e "$lock" ] && kill -0 $program 2>/dev/null; do sleep 0.02; done
"$@"; code=$?
kill -TERM $program
wait $program
exit $code
]=])
set(lock "${FOLDER}/beside/.${file}.lock")
execute_process(COMMAND sh -c "${beside}" sh "${lock}" "${PROGRAM}" ${settings} --epochs 1000000 --methods ${method} --output_dir "${FOLDER}/beside"
                RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT code EQUAL 1 OR NOT output MATCHES "another run is writing .*/beside/${file}: wait until it has ended, or use another --output_dir")
  message(FATAL_ERROR "exit code ${code}, expected 1 and another run's claim, of a run beside another:\n${output}")
endif()
if(EXISTS "${lock}")
  message(FATAL_ERROR "Both runs have ended and left ${lock}")
endif()
run(0 "goes on after epoch|test accuracy" --epochs 1 --methods frozen_bp --output_dir "${FOLDER}/beside" --retrain)

expect_nothing_to_do("vec, seed 42: finished before, kept" --epochs ${epochs} --methods ${method})

# Another method and seed join what is there.
run(0 "vec, seed 42: finished before, kept" --epochs ${epochs} --methods frozen_bp ${method} --output_dir "${FOLDER}/parts")
expect_same_results()
set(method frozen_bp)
results(other parts)

# A schedule's transitions are in the results, with Gamma of each block on both sides.
run(0 "test accuracy" --epochs 5 --methods value_net --output_dir "${FOLDER}/schedule")
file(READ "${FOLDER}/schedule/${file}" text)
string(JSON count LENGTH "${text}" 42 value_net transitions)
if(count LESS 1)
  message(FATAL_ERROR "value_net went from DFA to its nets without a transition")
endif()
foreach(side gamma_before gamma_after)
  string(JSON blocks LENGTH "${text}" 42 value_net transitions 0 ${side})
  if(NOT blocks EQUAL 2)
    message(FATAL_ERROR "${side} of a transition has ${blocks} values, expected one for each of 2 blocks")
  endif()
endforeach()

run(0 "test accuracy" --epochs 1 --methods frozen_bp --output_dir "${FOLDER}/parts" --retrain)
file(READ "${FOLDER}/parts/${file}" text)
string(JSON epochs GET "${text}" config epochs)
if(NOT epochs EQUAL 1)
  message(FATAL_ERROR "--retrain has kept settings: epochs is ${epochs}, expected 1")
endif()
