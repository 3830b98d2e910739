# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/regression -D FOLDER=… -P baselines.cmake: on a table whose target is linear in the inputs, least squares explain all of it, and
# the mean nothing.

file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")
set(table "a,y,b\n")
foreach(i RANGE 49)
  math(EXPR a "(7 * ${i}) % 50")
  math(EXPR b "(11 * ${i} * ${i}) % 23")
  math(EXPR y "1000 + 3 * ${a} - 20 * ${b}")
  string(APPEND table "${a},${y},${b}\n")
endforeach()
file(WRITE "${FOLDER}/linear.csv" "${table}")

execute_process(COMMAND "${PROGRAM}" --table "${FOLDER}/linear.csv" --target y --methods readout --seeds 42 --epochs 1 --threads 1 --output_dir
                        "${FOLDER}" RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit code ${code}:\n${output}")
endif()
file(READ "${FOLDER}/results_linear.json" results)
string(JSON linear GET "${results}" 42 baselines linear test_r2)
string(JSON mean GET "${results}" 42 baselines mean test_r2)
string(JSON rmse GET "${results}" 42 baselines mean test_rmse)
if(NOT linear MATCHES "^(1(\\.0)?|0\\.99999[0-9]*)$")
  message(FATAL_ERROR "R2 of least squares is ${linear}, expected 1")
endif()
if(NOT mean MATCHES "^(-0\\.[0-9]+|-[0-9.]+e-[0-9]+|0(\\.0)?)$")
  message(FATAL_ERROR "R2 of the mean is ${mean}, expected 0 or a little less")
endif()
if(rmse LESS 50 OR rmse GREATER 300)
  message(FATAL_ERROR "RMSE of the mean is ${rmse}, expected one of the size of the target's deviation, in its unit")
endif()
