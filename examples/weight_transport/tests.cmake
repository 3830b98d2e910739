# SPDX-License-Identifier: Apache-2.0
set(small --dataset digits --seeds 42 --epochs 2 --width 32 --threads 1)
creditlib_smoke_test(weight_transport ARGS ${small} --output_dir {folder})
creditlib_smoke_test(weight_transport NAME weight_transport_decay ARGS --methods bp kp wm --lr 0.1 --decay 1e-3 --limit-train 256 ${small}
                                           --output_dir {folder})
creditlib_smoke_test(weight_transport NAME weight_transport_two ARGS --methods bp kp wm ${small} --limit-train 256 --distributed 2
                                           --output_dir {folder})
if(CREDITLIB_BUILD_TESTS)
  foreach(test resumed_run figures)
    add_test(NAME smoke/weight_transport_${test} COMMAND "${CMAKE_COMMAND}" -D "PROGRAM=$<TARGET_FILE:weight_transport>" -D
                                                         "FOLDER=${CMAKE_BINARY_DIR}/smoke/weight_transport_${test}" -P
                                                         "${CMAKE_CURRENT_LIST_DIR}/${test}.cmake")
    set_tests_properties(smoke/weight_transport_${test} PROPERTIES LABELS smoke TIMEOUT 300)
    creditlib_environment(smoke/weight_transport_${test})
  endforeach()
endif()

creditlib_refusal_test(weight_transport NAME weight_transport_by_no_method SAYS "dfa not in .*frsf" ARGS --methods dfa)
creditlib_refusal_test(weight_transport NAME weight_transport_on_other_data SAYS "cifar10 not in" ARGS --dataset cifar10)
creditlib_refusal_test(weight_transport NAME weight_transport_twice SAYS "--seeds names 42 twice" ARGS --seeds 42 42 --output_dir ${nowhere})
creditlib_refusal_test(weight_transport NAME decay_of_more_than_all SAYS "--decay" ARGS --decay 1.5)
creditlib_refusal_test(weight_transport NAME weight_transport_without_data CODE 1 SAYS "download the four MNIST files" ARGS --data-dir
                                        "${PROJECT_SOURCE_DIR}/docs" --output_dir ${nowhere})
