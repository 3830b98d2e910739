# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(toy_lq ARGS --steps 20 --d 16 --L 3 --batch 32 --eval_samples 64 --ridge_samples 128 --output_dir {folder}
                            --tensorboard {folder}/live)
if(CREDITLIB_BUILD_TESTS)
  add_test(NAME smoke/toy_lq_resumed_run COMMAND "${CMAKE_COMMAND}" -D "PROGRAM=$<TARGET_FILE:toy_lq>" -D
                                                 "FOLDER=${CMAKE_BINARY_DIR}/smoke/toy_lq_resumed_run" -P
                                                 "${CMAKE_CURRENT_LIST_DIR}/resumed_run.cmake")
  set_tests_properties(smoke/toy_lq_resumed_run PROPERTIES LABELS smoke TIMEOUT 300)
  creditlib_environment(smoke/toy_lq_resumed_run)
endif()

# In several processes.
several_processes_test(toy_lq 300)
