# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(custom_rule ARGS --epochs 1)
