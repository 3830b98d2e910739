# SPDX-License-Identifier: Apache-2.0
creditlib_smoke_test(distributed ARGS --epochs 1)
creditlib_smoke_test(distributed NAME distributed_blocks_without_torchrun ARGS --epochs 1 --blocks --distributed 2)

# In two processes, if the Python of the tests has a torch that can be imported, with its torchrun.
if(CREDITLIB_BUILD_TESTS AND CREDITLIB_PYTHON)
  get_filename_component(torchrun "${CREDITLIB_PYTHON}" DIRECTORY)
  set(torchrun "${torchrun}/torchrun")
  execute_process(COMMAND "${CREDITLIB_PYTHON}" -c "import torch.distributed.run" RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(NOT failed AND EXISTS "${torchrun}")
    foreach(test two "blocks;--blocks")
      list(POP_FRONT test name)
      add_test(NAME smoke/distributed_${name}
               COMMAND "${torchrun}" --no-python --standalone --nproc-per-node 2 $<TARGET_FILE:distributed> --epochs 1 ${test})
      set_tests_properties(smoke/distributed_${name} PROPERTIES LABELS smoke TIMEOUT 300
                           PASS_REGULAR_EXPRESSION "trained in 2 processes")
      creditlib_environment(smoke/distributed_${name})
      set_property(TEST smoke/distributed_${name} APPEND PROPERTY ENVIRONMENT GLOO_SOCKET_IFNAME=lo)
    endforeach()
  endif()
endif()
