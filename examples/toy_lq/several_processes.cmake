# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/toy_lq -D PYTHON=… -D FOLDER=… -P several_processes.cmake: a run in two processes that is stopped goes on in three, and its
# sources have learned what they learn in a single process, from the same noise, up to rounding.

set(settings --methods dfa vec state_predictor_y --d 16 --L 3 --batch 16 --steps 240 --noise 0.5 --eval_samples 64 --ridge_samples 64 --threads 1
             --checkpoint-every 1)
set(file toy_lq_L3_d16_s42.json)

include("${CMAKE_CURRENT_LIST_DIR}/../support/resumed_run.cmake")

set(near [=[
import json, sys
one, several = (json.load(open(name)) for name in sys.argv[1:])
assert several["environment"]["processes"] == 3, several["environment"]
for method in ("dfa", "vec", "state_predictor_y"):
    a, b = one["results"][method], several["results"][method]
    assert a["steps"] == b["steps"] and len(a["curve"]) == len(b["curve"]), method
    for (step, x), (its, y) in zip(a["curve"], b["curve"]):
        assert step == its and abs(x - y) <= 1e-4, (method, step, x, y)
    for key in ("costate_cosine_per_layer", "rho_per_layer", "nudge_per_layer"):
        assert all(abs(x - y) <= 1e-4 for x, y in zip(a[key], b[key])), (method, key, a[key], b[key])
]=])

run(0 "vec +-?[0-9.]+ +-?[0-9.]+" --output_dir "${FOLDER}/whole")
stop_with(checkpoint_L3_d16_vec_s42 --distributed 2)
run(0 "dfa: finished before, kept.*vec: goes on after step [0-9]+ of 240" --distributed 3 --output_dir "${FOLDER}/parts")
execute_process(COMMAND "${PYTHON}" -c "${near}" "${FOLDER}/whole/${file}" "${FOLDER}/parts/${file}" RESULT_VARIABLE code ERROR_VARIABLE said)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "Two and three processes learn otherwise than one:\n${said}")
endif()
