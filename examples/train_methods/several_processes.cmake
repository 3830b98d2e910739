# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/train_methods -D PYTHON=… -D FOLDER=… -P several_processes.cmake: a run in two processes that is stopped goes on in three, and
# ends like one in a single process, up to rounding; one process speaks and writes; an error of all is said once.

set(method dfa)
set(file results_digits.json)
set(settings --dataset digits --seeds 42 --limit-train 250 --batch-size 32 --num_blocks 2 --d_hidden 64 --threads 1 --matmul mkl --epochs 40
             --methods ${method})

include("${CMAKE_CURRENT_LIST_DIR}/../support/resumed_run.cmake")

set(near [=[
import json, sys
one, several = (json.load(open(name))["42"]["dfa"] for name in sys.argv[1:])
assert one["steps"] == several["steps"] and several["finished"], several
assert several["environment"]["processes"] == 3, several["environment"]
for key in ("train_loss", "train_acc", "test_acc"):
    a, b = one["log"][key], several["log"][key]
    assert len(a) == len(b) == 40, key
    assert all(abs(x - y) <= 5e-3 for x, y in zip(a, b)), (key, a, b)
]=])

run(0 "test accuracy" --output_dir "${FOLDER}/whole")
stop_with(checkpoint_digits_${method}_s42 --distributed 2)
run(0 "goes on after epoch [0-9]+ of 40" --distributed 3 --output_dir "${FOLDER}/parts" --tensorboard "${FOLDER}/live")
execute_process(COMMAND "${PYTHON}" -c "${near}" "${FOLDER}/whole/${file}" "${FOLDER}/parts/${file}" RESULT_VARIABLE code ERROR_VARIABLE said)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "Two and three processes train otherwise than one:\n${said}")
endif()

file(GLOB left "${FOLDER}/parts/checkpoint_*" "${FOLDER}/parts/.*")
file(GLOB events "${FOLDER}/live/${method}_seed_42/events.out.tfevents.*")
list(LENGTH events written)
if(left OR NOT written EQUAL 1)
  message(FATAL_ERROR "The finished run has left ${left}, and ${written} event files where one process writes")
endif()

# Once what one process says.
execute_process(COMMAND "${PROGRAM}" ${settings} --distributed 2 --retrain --output_dir "${FOLDER}/again" OUTPUT_VARIABLE output RESULT_VARIABLE code)
string(REGEX MATCHALL "epoch 7/40" said "${output}")
list(LENGTH said times)
if(NOT code EQUAL 0 OR NOT times EQUAL 1)
  message(FATAL_ERROR "exit code ${code}, and ${times} lines of epoch 7, expected 1:\n${output}")
endif()
execute_process(COMMAND "${PROGRAM}" ${settings} --distributed 2 --methods dfa dfa --output_dir "${FOLDER}/twice" RESULT_VARIABLE code
                ERROR_VARIABLE output)
string(REGEX MATCHALL "names dfa twice" said "${output}")
list(LENGTH said times)
if(NOT code EQUAL 2 OR NOT times EQUAL 1)
  message(FATAL_ERROR "exit code ${code}, expected 2 and one sentence:\n${output}")
endif()

# So is a wrong flag under torchrun: by the first process on each machine.
function(expect_of_process rank local_rank expected)
  execute_process(COMMAND "${CMAKE_COMMAND}" -E env WORLD_SIZE=4 LOCAL_WORLD_SIZE=2 RANK=${rank} LOCAL_RANK=${local_rank} "${PROGRAM}" --epochs 0
                  RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 2 OR NOT output MATCHES "${expected}")
    message(FATAL_ERROR "exit code ${code} in process ${rank}, expected 2 and \"${expected}\":\n${output}")
  endif()
endfunction()
expect_of_process(0 0 "^train_methods: --epochs: 0 is not a whole number >= 1")
expect_of_process(1 1 "^$")
expect_of_process(2 0 "^train_methods .rank 2.: --epochs: 0 is not a whole number >= 1")

# What stops the starting process stops those too that it starts afterwards; a parent that ignores SIGCHLD does not keep it waiting.
set(stopped_early [=[
import signal, subprocess, sys
program = subprocess.Popen(sys.argv[1:])
children = f"/proc/{program.pid}/task/{program.pid}/children"
while program.poll() is None and not open(children).read():
    pass
program.send_signal(signal.SIGTERM)
code = program.wait(timeout=60)
assert code != 0, code
]=])
set(ignoring [=[
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
]=])
execute_process(COMMAND "${PYTHON}" -c "${stopped_early}" "${PROGRAM}" ${settings} --distributed 4 --output_dir "${FOLDER}/early"
                RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "SIGTERM between two starts does not end all processes:\n${output}")
endif()
execute_process(COMMAND "${PYTHON}" -c "${ignoring}" "${PROGRAM}" ${settings} --distributed 2 --output_dir "${FOLDER}/ignoring"
                RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 120)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit code ${code} where SIGCHLD is ignored:\n${output}")
endif()
