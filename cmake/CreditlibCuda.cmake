# SPDX-License-Identifier: Apache-2.0
# Whether programs that include CUDA's headers, such as creditlib/cuda/graphed_step.hpp, can be built: LibTorch's CUDA half is linked, and there
# is a toolkit of the same major version (another one's cudart beside LibTorch's own would be a second, with a state of its own).
#
# Sets CREDITLIB_CUDA_PROGRAMS (TRUE or FALSE); where TRUE, the target CUDA::cudart is there to be linked, and CREDITLIB_NCCL_INCLUDE is the folder of
# nccl.h, which creditlib/distributed/nccl.hpp needs: that of the wheel's own NCCL, or the toolkit's; not found where there is none.

set(CREDITLIB_CUDA_PROGRAMS FALSE)
if(NOT CREDITLIB_LIBTORCH_CUDA)
  set(_creditlib_why "LibTorch's CUDA half is not linked")
else()
  find_package(CUDAToolkit QUIET)
  if(NOT CUDAToolkit_FOUND OR NOT TARGET CUDA::cudart)
    set(_creditlib_why "no CUDA toolkit was found")
  else()
    set(_creditlib_of_libtorch "")
    file(GLOB _creditlib_libraries "${CREDITLIB_LIBTORCH_FOLDER}/lib*/libc10_cuda.so")
    if(_creditlib_libraries)
      list(GET _creditlib_libraries 0 _creditlib_library)
      execute_process(COMMAND ldd "${_creditlib_library}" OUTPUT_VARIABLE _creditlib_text ERROR_QUIET)
      if(_creditlib_text MATCHES "libcudart[^ ]*\\.so\\.([0-9]+)")
        set(_creditlib_of_libtorch "${CMAKE_MATCH_1}")
      endif()
    endif()
    if(_creditlib_of_libtorch AND NOT _creditlib_of_libtorch STREQUAL CUDAToolkit_VERSION_MAJOR)
      set(_creditlib_why "the CUDA toolkit is ${CUDAToolkit_VERSION}, and LibTorch was built with CUDA ${_creditlib_of_libtorch}")
    else()
      set(CREDITLIB_CUDA_PROGRAMS TRUE)
    endif()
  endif()
endif()

if(CREDITLIB_CUDA_PROGRAMS)
  find_path(CREDITLIB_NCCL_INCLUDE nccl.h HINTS "${CREDITLIB_LIBTORCH_FOLDER}/../nvidia/nccl/include" ${CUDAToolkit_INCLUDE_DIRS})
  mark_as_advanced(CREDITLIB_NCCL_INCLUDE)
  set(_creditlib_message "creditlib: CUDA graphs are built with the toolkit ${CUDAToolkit_VERSION}")
else()
  set(_creditlib_message "creditlib: CUDA graphs are not built: ${_creditlib_why}")
endif()
get_property(_creditlib_said GLOBAL PROPERTY creditlib_cuda_said)
if(NOT _creditlib_said)
  message(STATUS "${_creditlib_message}")
  set_property(GLOBAL PROPERTY creditlib_cuda_said TRUE)
endif()
