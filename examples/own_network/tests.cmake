# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(own_network ARGS --epochs 1)
creditlib_smoke_test(own_network NAME own_network_two ARGS --epochs 1 --distributed 2)
