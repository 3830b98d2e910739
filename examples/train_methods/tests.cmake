# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(train_methods ARGS --dataset digits --methods bp fa dfa oracle --seeds 42 --epochs 1 --limit-train 256
                                        --output_dir {folder})
creditlib_smoke_test(train_methods NAME train_methods_depth ARGS --dataset digits --methods fa frozen readout shallow --seeds 42 --epochs 1
                                        --limit-train 128 --num_blocks 6 --d_hidden 32 --output_dir {folder})
creditlib_smoke_test(train_methods NAME train_methods_at_input ARGS --dataset digits --methods oracle vec value_net state_predictor
                                        --credit_point input --seeds 42 --epochs 1 --limit-train 128 --d_hidden 32 --output_dir {folder})
creditlib_smoke_test(train_methods NAME train_methods_mlp ARGS --arch mlp --dataset digits --methods dfa sdfa raw_dfa ndfa drtp dkp frozen --seeds 42
                                        --epochs 1 --limit-train 128 --num_blocks 2 --d_hidden 32 --output_dir {folder})
creditlib_smoke_test(train_methods NAME train_methods_lenet ARGS --arch lenet --dataset digits --methods bp layer_fa dfa usf brsf frsf --seeds 42
                                        --epochs 1 --limit-train 64 --output_dir {folder})
creditlib_smoke_test(train_methods NAME train_methods_local_error_signals ARGS --arch mlp --dataset digits --methods les_pred les_sim
                                        local_error_signals --seeds 42 --epochs 1 --limit-train 128 --num_blocks 2 --d_hidden 32
                                        --output_dir {folder})
# Another setting is not mixed with earlier results.
creditlib_refusal_test(train_methods NAME no_augment_beside_augmented CODE 1 SAYS "no_augment is left out there, true here" ARGS ${digits}
                                     --methods dfa vec value_net --credit_point input --no-augment --output_dir
                                     "${CMAKE_BINARY_DIR}/smoke/saved_weights")
# 128 steps, which --threads auto times before.
creditlib_smoke_test(train_methods NAME train_methods_threads_auto ARGS --dataset digits --methods dfa vec --seeds 42 --epochs 4 --limit-train 1024
                                        --batch_size 32 --threads auto --output_dir {folder})
creditlib_smoke_test(train_methods NAME train_methods_all ARGS --dataset digits --methods all --seeds 42 --epochs 1 --limit-train 64 --batch-size 32
                                        --num_blocks 2 --d_hidden 32 --output_dir {folder})
creditlib_refusal_test(train_methods NAME all_and_another SAYS "all stands for every rule" ARGS --dataset digits --methods all dfa)
foreach(arch vit resnet)
  creditlib_smoke_test(train_methods NAME train_methods_${arch} ARGS --arch ${arch} --dataset digits --methods bp fa dfa vec value_net
                                          state_predictor ep local_error_signals mono_forward decoupled_greedy
                                          channel_goodness shallow --clip 1 --penalty_lam 1e-3 --seeds 42 --epochs 1 --limit-train 8
                                          --batch-size 8 --output_dir {folder})
endforeach()
if(CREDITLIB_BUILD_TESTS)
  add_test(NAME smoke/train_methods_resumed COMMAND "${CMAKE_COMMAND}" -D "PROGRAM=$<TARGET_FILE:train_methods>" -D
                                                    "FOLDER=${CMAKE_BINARY_DIR}/smoke/train_methods_resumed" -P
                                                    "${CMAKE_CURRENT_LIST_DIR}/resumed_run.cmake")
  add_test(NAME smoke/train_methods_checkpoints COMMAND "${CMAKE_COMMAND}" -D "PROGRAM=$<TARGET_FILE:train_methods>" -D
                                                        "FOLDER=${CMAKE_BINARY_DIR}/smoke/train_methods_checkpoints" -P
                                                        "${CMAKE_CURRENT_LIST_DIR}/checkpoints.cmake")
  foreach(test resumed checkpoints)
    set_tests_properties(smoke/train_methods_${test} PROPERTIES LABELS smoke TIMEOUT 600)
    creditlib_environment(smoke/train_methods_${test})
  endforeach()
endif()

# In several processes. torchrun, if there is one: distributed/tests.cmake.
several_processes_test(train_methods 600)

# Any images of ten classes will do, in files with MNIST's names.
creditlib_smoke_test(train_methods NAME train_methods_fashion_mnist ARGS --dataset fashion_mnist --data-dir "${PROJECT_SOURCE_DIR}/data/digits"
                                        --methods bp --seeds 42 --epochs 1 --limit-train 64 --output_dir {folder})
creditlib_refusal_test(train_methods NAME no_such_dataset SAYS "imagenet not in .*cifar10,.*qmnist,.*emnist_letters,.*digits" ARGS --dataset imagenet)
creditlib_refusal_test(train_methods NAME dataset_that_is_not_there CODE 1 SAYS "emnist_balanced: .*download EMNIST" ARGS --dataset emnist_balanced
                                     --data-dir "${PROJECT_SOURCE_DIR}/data/text" --output_dir ${nowhere})

creditlib_refusal_test(train_methods NAME tensorboard_in_a_file CODE 1 SAYS "cannot be created" ARGS --dataset digits --methods bp --seeds 42
                                     --limit-train 64 --tensorboard "${CMAKE_CURRENT_LIST_FILE}" --output_dir ${nowhere})
creditlib_refusal_test(train_methods NAME no_epochs SAYS "0 is not a whole number >= 1" ARGS --epochs 0)
creditlib_refusal_test(train_methods NAME half_an_epoch SAYS "1.5 is not a whole number" ARGS --epochs 1.5)
creditlib_refusal_test(train_methods NAME clip_that_is_no_number SAYS "nan is not a number >= 0" ARGS --clip nan)
creditlib_refusal_test(train_methods NAME half_a_thread SAYS "1.5 is neither auto nor a whole number" ARGS --threads 1.5)
creditlib_refusal_test(train_methods NAME no_such_method SAYS "bpp not in .*state_predictor" ARGS --methods bpp)
creditlib_refusal_test(train_methods NAME blocks_of_a_vit SAYS "--num_blocks and --d_hidden are of MLPs" ARGS --arch vit --num_blocks 2)
creditlib_refusal_test(train_methods NAME mlp_without_blocks SAYS "shallow is the readout on h_0" ARGS --arch mlp --dataset digits --methods shallow)
creditlib_refusal_test(train_methods NAME seed_named_twice SAYS "--seeds names 42 twice" ARGS --seeds 42 42)
# 042 is 42, not octal 34; 08 and +8 are 8.
creditlib_refusal_test(train_methods NAME seed_with_a_leading_zero SAYS "--seeds names 42 twice" ARGS --seeds 042 42)
creditlib_refusal_test(train_methods NAME seed_that_is_not_octal SAYS "--seeds names 8 twice" ARGS --seeds 08 +8)
creditlib_refusal_test(train_methods NAME seed_past_64_bits SAYS "--seeds: 9223372036854775808 is not a whole number" ARGS
                                     --seeds 9223372036854775808)
creditlib_refusal_test(train_methods NAME zero_written_at_length SAYS "0 is not a whole number >= 1" ARGS --epochs 000)
# Before bp, which could be trained, has been.
creditlib_refusal_test(train_methods NAME bf16_without_closed_form CODE 1 SAYS "[Pp]recision" ARGS --arch vit --methods bp dfa --precision bf16
                                          --force ${digits} --output_dir ${nowhere})

# Saved weights, which audit's tests read too.
creditlib_smoke_test(train_methods NAME saved_weights ARGS ${digits} --methods dfa vec value_net --credit_point input --save_weights
                                        --output_dir {folder})
creditlib_smoke_test(train_methods NAME train_from_saved ARGS ${digits} --methods vec --init_from ${saved}_vec_s42.safetensors --output_dir {folder})
creditlib_refusal_test(train_methods NAME weights_of_another_model CODE 1 SAYS "as .256, 64., the model as .16, 64." ARGS ${digits}
                                          --d_hidden 16 --init_from ${saved}_dfa_s42.safetensors --output_dir ${nowhere})
if(CREDITLIB_BUILD_TESTS)
  set_tests_properties(smoke/saved_weights PROPERTIES FIXTURES_SETUP saved_weights)
  set_tests_properties(smoke/train_from_saved refused/weights_of_another_model refused/no_augment_beside_augmented PROPERTIES FIXTURES_REQUIRED saved_weights)
endif()
creditlib_refusal_test(train_methods NAME tf32_on_the_cpu SAYS "--tf32 is of CUDA devices" ARGS ${digits} --methods bp --device cpu --tf32)
