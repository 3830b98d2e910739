# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(audit ARGS --dataset digits --epochs 2 --limit-train 256 --null_draws 2 --random_label_epochs 1 --output_dir {folder})
creditlib_smoke_test(audit NAME audit_two ARGS --dataset digits --epochs 2 --limit-train 256 --null_draws 2 --random_label_epochs 1
                                 --distributed 2 --output_dir {folder})

# Audits of the weights that train_methods' tests save.
foreach(method dfa vec value_net)
  creditlib_smoke_test(audit NAME audit_saved_${method} ARGS ${digits} --method ${method} --from ${saved}_${method}_s42.safetensors
                                  --null_draws 2 --no_controls --output_dir {folder})
  if(CREDITLIB_BUILD_TESTS)
    set_tests_properties(smoke/audit_saved_${method} PROPERTIES FIXTURES_REQUIRED saved_weights)
  endif()
endforeach()
if(CREDITLIB_BUILD_TESTS)
  add_test(NAME smoke/audit_sees_saved_nets COMMAND "${CMAKE_COMMAND}" -D "TRAINED=${CMAKE_BINARY_DIR}/smoke/saved_weights/results_digits.json"
                                                    -D "AUDITED=${CMAKE_BINARY_DIR}/smoke/audit_saved_vec/audit_digits_resmlp_vec.json"
                                                    -P "${CMAKE_CURRENT_LIST_DIR}/audited_as_saved.cmake")
  set_tests_properties(smoke/audit_saved_vec PROPERTIES FIXTURES_SETUP audited_vec)
  set_tests_properties(smoke/audit_sees_saved_nets PROPERTIES LABELS smoke FIXTURES_REQUIRED audited_vec)
endif()

creditlib_refusal_test(audit NAME seeds_of_one_file SAYS "--from audits one network" ARGS --seeds 1 2 --from ${saved}_dfa_s42.safetensors)
