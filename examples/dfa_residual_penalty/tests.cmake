# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(dfa_residual_penalty ARGS --dataset digits --epochs 1 --limit-train 256 --baseline 0.5 --output_dir {folder})
creditlib_smoke_test(dfa_residual_penalty NAME dfa_residual_penalty_of_bp ARGS --method bp --dataset digits --epochs 2 --limit-train 256
                                               --output_dir {folder})
creditlib_smoke_test(dfa_residual_penalty NAME dfa_residual_penalty_two ARGS --dataset digits --epochs 1 --limit-train 256 --distributed 2
                                               --output_dir {folder})

creditlib_refusal_test(dfa_residual_penalty NAME baseline_that_is_no_number SAYS "nan is not a number" ARGS --baseline nan)
