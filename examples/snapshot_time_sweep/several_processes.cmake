# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/snapshot_time_sweep -D PYTHON=… -D FOLDER=… -P several_processes.cmake: a run in two processes that is stopped during
# back-propagation goes on in three, and measures what one process measures, up to rounding.

set(settings --dataset digits --limit-train 400 --batch-size 16 --num_blocks 2 --d_hidden 32 --snapshot_epochs 0 1 40 --estimator_epochs 2
             --script_scale --threads 1 --matmul mkl)
set(file time_sweep_L2_d32_s42.json)

include("${CMAKE_CURRENT_LIST_DIR}/../support/resumed_run.cmake")

# Training amplifies rounding: after 40 epochs the networks are near each other, and no longer the same to many digits.
set(near [=[
import json, sys
one, several = (json.load(open(name)) for name in sys.argv[1:])
assert several["environment"]["processes"] == 3, several["environment"]
assert len(one["results"]) == len(several["results"]) == 9
def numbers(value):
    if isinstance(value, dict):
        return [n for key in sorted(value) for n in numbers(value[key])]
    if isinstance(value, list):
        return [n for each in value for n in numbers(each)]
    return [value] if isinstance(value, float) else []
for a, b in zip(one["results"], several["results"]):
    what = (a["snapshot_epoch"], a["method"])
    assert what == (b["snapshot_epoch"], b["method"])
    assert abs(a["snapshot_acc"] - b["snapshot_acc"]) <= 0.02, (what, a["snapshot_acc"], b["snapshot_acc"])
    if a["snapshot_epoch"] > 1: continue
    assert a["best_eta"] == b["best_eta"] and a["update_utility"]["eta"] == b["update_utility"]["eta"], (a, b)
    x, y = numbers(a), numbers(b)
    assert len(x) == len(y)
    assert all(abs(p - q) <= 1e-2 * max(abs(p), abs(q)) + 1e-5 for p, q in zip(x, y)), (what, a, b)
]=])

run(0 "results: " --output_dir "${FOLDER}/whole")
stop_with(bp_ckpts_L2_d32_s42/checkpoint --distributed 2)
run(0 "bp: goes on after epoch [0-9]+ of 40" --distributed 3 --output_dir "${FOLDER}/parts")
execute_process(COMMAND "${PYTHON}" -c "${near}" "${FOLDER}/whole/${file}" "${FOLDER}/parts/${file}" RESULT_VARIABLE code ERROR_VARIABLE said)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "Two and three processes measure otherwise than one:\n${said}")
endif()
expect_nothing_to_do("oracle_bp: finished before, kept" --distributed 2)
