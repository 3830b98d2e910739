# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(bring_your_own ARGS --epochs 1)
if(CREDITLIB_BUILD_TESTS)
  add_test(NAME smoke/bring_your_own_learns COMMAND "${CMAKE_COMMAND}" -P "${CMAKE_CURRENT_LIST_DIR}/learns.cmake" --
                                                    $<TARGET_FILE:bring_your_own> --epochs 6)
  set_tests_properties(smoke/bring_your_own_learns PROPERTIES LABELS smoke TIMEOUT 120)
  creditlib_environment(smoke/bring_your_own_learns)
endif()
