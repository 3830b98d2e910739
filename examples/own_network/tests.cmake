creditlib_smoke_test(own_network ARGS --epochs 1)
