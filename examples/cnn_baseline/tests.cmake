# SPDX-License-Identifier: Apache-2.0
foreach(method bp dfa ep state_bridge credit_bridge)
  creditlib_smoke_test(cnn_baseline NAME cnn_baseline_${method} ARGS --method ${method} --dataset digits --epochs 1 --limit-train 64
                                         --output_dir {folder})
endforeach()
creditlib_smoke_test(cnn_baseline NAME cnn_baseline_two ARGS --method dfa --dataset digits --epochs 1 --limit-train 64 --distributed 2
                                       --output_dir {folder})

creditlib_refusal_test(cnn_baseline NAME no_nudged_steps SAYS "0 is not a whole number >= 1" ARGS --method ep --T_nudge 0)
creditlib_refusal_test(cnn_baseline NAME no_samples SAYS "0 is not a whole number >= 1" ARGS --method credit_bridge --K 0)
