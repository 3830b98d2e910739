creditlib_smoke_test(custom_rule ARGS --epochs 1)
