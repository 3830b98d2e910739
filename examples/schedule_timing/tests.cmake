# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(schedule_timing ARGS --dataset digits --epochs 3 --limit-train 128 --num_blocks 2 --d_hidden 32 --schedules published
                                          Hybrid_blend_0.5 --output_dir {folder})
creditlib_smoke_test(schedule_timing NAME schedule_timing_two ARGS --dataset digits --epochs 1 --limit-train 128 --num_blocks 2 --d_hidden 32
                                          --schedules DFA_only --distributed 2 --output_dir {folder})

creditlib_refusal_test(schedule_timing NAME no_schedule SAYS "DFA_frist is no schedule; the forms are" ARGS --schedules DFA_frist)
creditlib_refusal_test(schedule_timing NAME schedule_named_twice SAYS "names DFA_only twice" ARGS --schedules published DFA_only)
creditlib_refusal_test(schedule_timing NAME switch_past_the_end SAYS "expected T1 to T2 of 3 epochs" ARGS --epochs 3 --schedules DFA_then_Vec_T9)
creditlib_refusal_test(schedule_timing NAME alpha_past_1 SAYS "alpha in 0..1" ARGS --schedules Hybrid_blend_1.5)
creditlib_refusal_test(schedule_timing NAME no_directions SAYS "0 is not a whole number >= 1" ARGS --M 0)
