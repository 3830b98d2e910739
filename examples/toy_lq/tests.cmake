# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(toy_lq ARGS --steps 20 --d 16 --L 3 --batch 32 --eval_samples 64 --ridge_samples 128 --output_dir {folder}
                            --tensorboard {folder}/live)
