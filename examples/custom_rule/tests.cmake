# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(custom_rule ARGS --epochs 1)
if(CREDITLIB_BUILD_TESTS)
  add_test(NAME smoke/custom_rule_two COMMAND "${CMAKE_COMMAND}" -P "${CMAKE_CURRENT_LIST_DIR}/../support/same_in_two_processes.cmake" --
                                              $<TARGET_FILE:custom_rule> --epochs 1)
  set_tests_properties(smoke/custom_rule_two PROPERTIES LABELS smoke TIMEOUT 120)
  creditlib_environment(smoke/custom_rule_two)
endif()
