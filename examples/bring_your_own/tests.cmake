# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(bring_your_own ARGS --epochs 1)
if(CREDITLIB_BUILD_TESTS)
  add_test(NAME smoke/bring_your_own_learns COMMAND "${CMAKE_COMMAND}" -P "${CMAKE_CURRENT_LIST_DIR}/learns.cmake" --
                                                    $<TARGET_FILE:bring_your_own> --epochs 6)
  set_tests_properties(smoke/bring_your_own_learns PROPERTIES LABELS smoke TIMEOUT 120)
  creditlib_environment(smoke/bring_your_own_learns)
endif()

# Not in several processes: before.cpp is of LibTorch alone. The first says so.
creditlib_refusal_test(bring_your_own NAME bring_your_own_in_two_processes SAYS "trains in one process, and torchrun .*started 2: start it alone")
creditlib_refusal_test(bring_your_own NAME bring_your_own_in_the_second_process SAYS "^$")
if(CREDITLIB_BUILD_TESTS)
  set_property(TEST refused/bring_your_own_in_two_processes APPEND PROPERTY ENVIRONMENT RANK=0 WORLD_SIZE=2)
  set_property(TEST refused/bring_your_own_in_the_second_process APPEND PROPERTY ENVIRONMENT RANK=1 WORLD_SIZE=2)
endif()
