# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(toy_lq ARGS --steps 20 --d 16 --L 3 --batch 32 --eval_samples 64 --ridge_samples 128 --output_dir {folder}
                            --tensorboard {folder}/live)

# Not in several processes.
creditlib_refusal_test(toy_lq NAME toy_lq_in_two_processes SAYS "trains in one process, and torchrun .*started 2: start it alone" ARGS --output_dir
                              ${nowhere})
if(CREDITLIB_BUILD_TESTS)
  set_property(TEST refused/toy_lq_in_two_processes APPEND PROPERTY ENVIRONMENT RANK=0 WORLD_SIZE=2)
endif()
