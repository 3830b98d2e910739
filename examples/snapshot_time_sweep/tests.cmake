# SPDX-License-Identifier: Apache-2.0
# Batches of 16, so that the digits have the 20 held-out ones that the update utility needs.
creditlib_smoke_test(snapshot_time_sweep ARGS --dataset digits --batch-size 16 --num_blocks 2 --d_hidden 64 --snapshot_epochs 0 1
                                              --estimator_epochs 1 --output_dir {folder})

# In several processes.
several_processes_test(snapshot_time_sweep 300)

creditlib_refusal_test(snapshot_time_sweep NAME snapshot_past_the_end SAYS "has 3, and --epochs is 2: a snapshot past the end" ARGS
                                           --epochs 2 --snapshot_epochs 1 3)
creditlib_refusal_test(snapshot_time_sweep NAME snapshot_named_twice SAYS "--snapshot_epochs names 1 twice" ARGS --snapshot_epochs 1 1)
