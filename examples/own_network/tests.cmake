# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(own_network ARGS --epochs 1)
