# SPDX-License-Identifier: Apache-2.0
set(small --context 8 --width 16 --heads 2 --blocks 2 --batch-size 4 --steps 6 --eval-every 3 --threads 1)
foreach(method bp fa dfa oracle vec value_net state_predictor ep mono_forward decoupled_greedy)
  creditlib_smoke_test(language_model NAME language_model_${method} ARGS --method ${method} ${small} --output_dir {folder})
endforeach()
creditlib_smoke_test(language_model NAME language_model_frozen ARGS --method dfa --frozen-blocks ${small} --output_dir {folder})
creditlib_smoke_test(language_model NAME language_model_two ARGS --method dfa ${small} --distributed 2 --output_dir {folder})
if(CREDITLIB_BUILD_TESTS)
  add_test(NAME smoke/language_model_resumed COMMAND "${CMAKE_COMMAND}" -D "PROGRAM=$<TARGET_FILE:language_model>" -D
                                                     "FOLDER=${CMAKE_BINARY_DIR}/smoke/language_model_resumed" -P
                                                     "${CMAKE_CURRENT_LIST_DIR}/resumed_run.cmake")
  set_tests_properties(smoke/language_model_resumed PROPERTIES LABELS smoke TIMEOUT 300)
  creditlib_environment(smoke/language_model_resumed)
endif()

creditlib_refusal_test(language_model NAME language_model_without_method SAYS "--method is required" ARGS ${small})
creditlib_refusal_test(language_model NAME language_model_of_no_rule SAYS "bpp not in" ARGS --method bpp ${small})
creditlib_refusal_test(language_model NAME language_model_of_similarities CODE 1 SAYS "use beta = 0" ARGS --method local_error_signals ${small}
                                      --output_dir ${nowhere})
creditlib_refusal_test(language_model NAME heads_that_do_not_divide SAYS "--width 16 cannot be divided among --heads 3" ARGS --method bp --width 16
                                      --heads 3 --output_dir ${nowhere})
creditlib_refusal_test(language_model NAME text_that_is_not_there SAYS "--text: File does not exist" ARGS --method bp --text no_such_file)
creditlib_refusal_test(language_model NAME text_too_short CODE 1 SAYS "too few for a window of 13000 and the next one" ARGS --method bp --context
                                      13000 --output_dir ${nowhere})
