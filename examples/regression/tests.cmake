# SPDX-License-Identifier: Apache-2.0
set(small --seeds 42 --epochs 2 --width 16 --blocks 2 --threads 1)
creditlib_smoke_test(regression ARGS --methods bp dfa fa oracle vec value_net state_predictor ep frozen frozen_bp readout shallow ${small}
                                     --output_dir {folder})
creditlib_smoke_test(regression NAME regression_smooth_l1 ARGS --methods bp dfa --loss smooth_l1 --target age --test_part 0.5 --penalty_lam 0.1
                                     --clip 1 ${small} --output_dir {folder})
creditlib_smoke_test(regression NAME regression_two ARGS --methods bp dfa ${small} --distributed 2 --output_dir {folder})
if(CREDITLIB_BUILD_TESTS)
  foreach(test resumed_run baselines settings_file)
    add_test(NAME smoke/regression_${test} COMMAND "${CMAKE_COMMAND}" -D "PROGRAM=$<TARGET_FILE:regression>" -D
                                                   "FOLDER=${CMAKE_BINARY_DIR}/smoke/regression_${test}" -P
                                                   "${CMAKE_CURRENT_LIST_DIR}/${test}.cmake")
    set_tests_properties(smoke/regression_${test} PROPERTIES LABELS smoke TIMEOUT 300)
    creditlib_environment(smoke/regression_${test})
  endforeach()
endif()

creditlib_refusal_test(regression NAME regression_by_no_method SAYS "bpp not in .*readout" ARGS --methods bpp)
creditlib_refusal_test(regression NAME regression_with_another_loss SAYS "hinge not in" ARGS --loss hinge)
creditlib_refusal_test(regression NAME more_than_all_rows SAYS "--test_part" ARGS --test-part 1.5)
creditlib_refusal_test(regression NAME table_that_is_not_there SAYS "--table: File does not exist" ARGS --table no_such_file)
creditlib_refusal_test(regression NAME too_few_rows_to_test CODE 1 SAYS "leaves 1004 rows to train with and 1 to test with" ARGS --test-part 0.001
                                       --output_dir ${nowhere})
creditlib_refusal_test(regression NAME target_that_is_no_column CODE 1 SAYS "0 columns are named .price.*the columns are .cement" ARGS --target
                                       price --output_dir ${nowhere})
creditlib_refusal_test(regression NAME table_that_is_a_text CODE 1 SAYS "read_csv: .*LICENSE" ARGS --table
                                       "${PROJECT_SOURCE_DIR}/data/concrete/LICENSE.md" --output_dir ${nowhere})
