# SPDX-License-Identifier: Apache-2.0
# Finds LibTorch in any of its forms and makes the imported target creditlib::libtorch of it.
#
#   a LibTorch zip (CPU or CUDA), a torch wheel (CPU or CUDA, with or without a CUDA toolkit, with or without the wheel's NVIDIA companions),
#   a conda package, an own build.
#
# find_package(Torch) is not used: of a CUDA wheel it needs a CUDA toolkit, which a program that only links the libraries does not.
#
# Searched in this order, the first that is there and new enough is taken:
#   CREDITLIB_LIBTORCH            variable or environment: the folder that has include/ and lib/; nothing else is looked at
#   Torch_DIR                     variable or environment: .../share/cmake/Torch; nothing else is looked at
#   this build folder's           what it was configured with before, unless CMAKE_PREFIX_PATH has changed since
#   CMAKE_PREFIX_PATH             variable or environment
#   the active Python             VIRTUAL_ENV, CONDA_PREFIX, then python3 and python of the PATH
#   CREDITLIB_LIBTORCH_VENVS      virtual environments, the project's own .venv
#   CREDITLIB_LIBTORCH_FALLBACK   what an installed creditlib was configured with: a path of that machine, so the last resort
#
# CREDITLIB_CUDA = AUTO, ON or OFF says whether the CUDA half (torch_cuda, c10_cuda) is linked; AUTO links it where all it depends on is found.
#
# Sets CREDITLIB_LIBTORCH_FOLDER, CREDITLIB_LIBTORCH_VERSION and CREDITLIB_LIBTORCH_CUDA (TRUE where the CUDA half is linked).

set(CREDITLIB_LIBTORCH_MINIMUM 2.11)
set(CREDITLIB_CUDA AUTO CACHE STRING "Link LibTorch's CUDA half: AUTO (where its dependencies are found), ON or OFF")
set_property(CACHE CREDITLIB_CUDA PROPERTY STRINGS AUTO ON OFF)

set(_creditlib_how_to_get_libtorch [=[
Ways to get it, any one is enough:
  * python3 -m pip install "torch>=2.11" in the Python that is active when CMake runs
  * a LibTorch zip, unpacked, and -DCMAKE_PREFIX_PATH=/folder/libtorch (or the environment variable CMAKE_PREFIX_PATH)
  * -DTorch_DIR=/folder/share/cmake/Torch (or the environment variable Torch_DIR)
  * -DCREDITLIB_LIBTORCH=/folder, the folder that has include/torch and lib/libtorch_cpu.so
  * in a clone of creditlib: ./run setup, which puts a pinned wheel into .venv]=])

# The LibTorch that `path` names (its folder, its share/cmake/Torch, the folder around it), or nothing.
function(_creditlib_libtorch_at path out)
  set(${out} "" PARENT_SCOPE)
  if(path STREQUAL "")
    return()
  endif()
  get_filename_component(path "${path}" ABSOLUTE)
  string(REGEX REPLACE "/share/cmake(/Torch)?$" "" path "${path}")
  foreach(below "" "/torch" "/libtorch")
    set(folder "${path}${below}")
    if(EXISTS "${folder}/include/torch/csrc/api/include/torch/torch.h")
      foreach(libraries lib lib64)
        if(EXISTS "${folder}/${libraries}/libtorch_cpu.so")
          set(${out} "${folder}" PARENT_SCOPE)
          return()
        endif()
      endforeach()
    endif()
  endforeach()
endfunction()

# The version in LibTorch's headers, or 0.
function(_creditlib_libtorch_version folder out)
  set(version 0)
  foreach(header torch/headeronly/version.h torch/csrc/api/include/torch/version.h torch/version.h)
    if(EXISTS "${folder}/include/${header}")
      file(READ "${folder}/include/${header}" text)
      if(text MATCHES "TORCH_VERSION_MAJOR ([0-9]+).*TORCH_VERSION_MINOR ([0-9]+).*TORCH_VERSION_PATCH ([0-9]+)")
        set(version "${CMAKE_MATCH_1}.${CMAKE_MATCH_2}.${CMAKE_MATCH_3}")
        break()
      endif()
    endif()
  endforeach()
  set(${out} ${version} PARENT_SCOPE)
endfunction()

# The folder of the package torch in `python`, without importing it (which takes seconds), or nothing.
function(_creditlib_libtorch_of_python python out)
  set(${out} "" PARENT_SCOPE)
  execute_process(
    COMMAND "${python}" -c
            "import importlib.util, os; s = importlib.util.find_spec('torch'); print(os.path.dirname(s.origin) if s and s.origin else '')"
    WORKING_DIRECTORY / # Python puts the working folder in front of its path, and it may well have a folder torch.
    OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed AND folder)
    _creditlib_libtorch_at("${folder}" found)
    if(NOT found) # conda keeps LibTorch in the environment itself
      execute_process(COMMAND "${python}" -c "import sys; print(sys.prefix)" OUTPUT_VARIABLE prefix OUTPUT_STRIP_TRAILING_WHITESPACE)
      _creditlib_libtorch_at("${prefix}" found)
    endif()
    set(${out} "${found}" PARENT_SCOPE)
  endif()
endfunction()

# Which of the libraries that `library` depends on the loader does not find, looking into `folders` too.
function(_creditlib_missing_dependencies library folders out)
  string(REPLACE ";" ":" search "${folders}")
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -E env "LD_LIBRARY_PATH=${search}" ldd "${library}"
    OUTPUT_VARIABLE text ERROR_QUIET)
  string(REGEX MATCHALL "[^ \t\n]+ => not found" missing "${text}")
  list(TRANSFORM missing REPLACE " => not found" "")
  list(REMOVE_DUPLICATES missing)
  set(${out} "${missing}" PARENT_SCOPE)
endfunction()

# Looks through the places in order. In the caller: found (folder or nothing), origin (where from), looked (a line a place).
macro(_creditlib_consider candidate from required)
  if(NOT found)
    _creditlib_libtorch_at("${candidate}" folder)
    if(folder)
      _creditlib_libtorch_version("${folder}" version)
      if(version VERSION_LESS CREDITLIB_LIBTORCH_MINIMUM)
        string(APPEND looked "\n  * ${from}: ${folder} is LibTorch ${version}, too old")
      else()
        set(found "${folder}")
        set(origin "${from}")
      endif()
    else()
      string(APPEND looked "\n  * ${from}: no LibTorch in ${candidate}")
    endif()
    if(NOT found AND ${required})
      message(FATAL_ERROR "creditlib needs LibTorch ${CREDITLIB_LIBTORCH_MINIMUM} or newer, and what was named is not that:${looked}\n"
                          "${_creditlib_how_to_get_libtorch}")
    endif()
  endif()
endmacro()

macro(_creditlib_consider_python python from)
  if(NOT found)
    _creditlib_libtorch_of_python("${python}" of_python)
    if(of_python)
      _creditlib_consider("${of_python}" "${from}" FALSE)
    else()
      string(APPEND looked "\n  * ${from}: ${python} has no torch with C++ headers")
    endif()
  endif()
endmacro()

function(_creditlib_find_libtorch)
  set(found "")
  set(origin "")
  set(looked "")

  foreach(name CREDITLIB_LIBTORCH Torch_DIR)
    if(${name} AND NOT ${name} MATCHES "NOTFOUND$")
      _creditlib_consider("${${name}}" "named by ${name}" TRUE)
    elseif(NOT "$ENV{${name}}" STREQUAL "")
      _creditlib_consider("$ENV{${name}}" "named by the environment's ${name}" TRUE)
    endif()
  endforeach()
  # A build runs CMake again when its files change, in any shell: what the environment said at first must not be needed then.
  if(_creditlib_kept_libtorch AND _creditlib_kept_prefixes STREQUAL "${CMAKE_PREFIX_PATH}")
    _creditlib_consider("${_creditlib_kept_libtorch}" "as configured before" FALSE)
  endif()
  foreach(prefix IN LISTS CMAKE_PREFIX_PATH)
    _creditlib_consider("${prefix}" "in CMAKE_PREFIX_PATH" FALSE)
  endforeach()
  string(REPLACE ":" ";" prefixes "$ENV{CMAKE_PREFIX_PATH}")
  foreach(prefix IN LISTS prefixes)
    _creditlib_consider("${prefix}" "in the environment's CMAKE_PREFIX_PATH" FALSE)
  endforeach()
  foreach(name VIRTUAL_ENV CONDA_PREFIX)
    if(NOT "$ENV{${name}}" STREQUAL "")
      _creditlib_consider_python("$ENV{${name}}/bin/python" "the active Python (${name})")
    endif()
  endforeach()
  foreach(name python3 python)
    if(NOT found)
      unset(program)
      find_program(program ${name} NO_CACHE)
      if(program)
        _creditlib_consider_python("${program}" "the active Python (${program})")
      endif()
    endif()
  endforeach()
  foreach(environment IN LISTS CREDITLIB_LIBTORCH_VENVS)
    if(NOT found)
      file(GLOB packages "${environment}/lib/python3*/site-packages/torch")
      if(packages)
        list(GET packages 0 package)
        _creditlib_consider("${package}" "the project's own environment" FALSE)
      else()
        string(APPEND looked "\n  * the project's own environment: no torch in ${environment}")
      endif()
    endif()
  endforeach()
  if(CREDITLIB_LIBTORCH_FALLBACK)
    _creditlib_consider("${CREDITLIB_LIBTORCH_FALLBACK}" "a last resort: the path that creditlib was configured with" FALSE)
  endif()

  if(NOT found)
    message(FATAL_ERROR "creditlib needs LibTorch ${CREDITLIB_LIBTORCH_MINIMUM} or newer and found none. Looked at:${looked}\n"
                        "${_creditlib_how_to_get_libtorch}")
  endif()
  if(origin MATCHES "^named by (CREDITLIB_LIBTORCH|Torch_DIR)$") # the cache has the name itself
    unset(_creditlib_kept_libtorch CACHE)
  else()
    set(_creditlib_kept_libtorch "${found}" CACHE INTERNAL "The LibTorch that this build folder uses")
    set(_creditlib_kept_prefixes "${CMAKE_PREFIX_PATH}" CACHE INTERNAL "CMAKE_PREFIX_PATH when it was found")
  endif()
  _creditlib_libtorch_version("${found}" version)
  set(CREDITLIB_LIBTORCH_FOLDER "${found}" PARENT_SCOPE)
  set(CREDITLIB_LIBTORCH_ORIGIN "${origin}" PARENT_SCOPE)
  set(CREDITLIB_LIBTORCH_VERSION "${version}" PARENT_SCOPE)
endfunction()

# Makes creditlib::libtorch of the LibTorch in `folder`. Sets CREDITLIB_LIBTORCH_CUDA and `kind` (words for the message) in the caller.
function(_creditlib_make_libtorch folder)
  set(libraries "${folder}/lib")
  if(NOT EXISTS "${libraries}/libtorch_cpu.so")
    set(libraries "${folder}/lib64")
  endif()
  if(folder MATCHES "/site-packages/torch$|/dist-packages/torch$")
    set(form "a torch wheel")
  elseif(EXISTS "${folder}/build-version")
    set(form "a LibTorch zip")
  else()
    set(form "a LibTorch folder")
  endif()

  # A wheel's libraries name the folders of its NVIDIA companions themselves. Where a companion is not installed, a toolkit may have it.
  set(toolkit "")
  foreach(root "$ENV{CUDA_HOME}" "$ENV{CUDA_PATH}" "${CUDAToolkit_ROOT}" /usr/local/cuda)
    if(root AND EXISTS "${root}/lib64")
      list(APPEND toolkit "${root}/lib64")
    endif()
  endforeach()
  list(REMOVE_DUPLICATES toolkit)

  set(search "")
  _creditlib_missing_dependencies("${libraries}/libtorch_cpu.so" "" missing)
  if(missing)
    _creditlib_missing_dependencies("${libraries}/libtorch_cpu.so" "${toolkit}" still_missing)
    if(still_missing)
      string(REPLACE ";" ", " still_missing "${still_missing}")
      message(FATAL_ERROR "creditlib: LibTorch in ${folder} cannot be loaded, these libraries are not found: ${still_missing}.\n"
                          "With a wheel of torch 2.11, python3 -m pip install nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85 brings them; "
                          "pip install torch without --no-deps brings all that CUDA needs.")
    endif()
    set(search "${toolkit}")
  endif()

  set(cuda FALSE)
  if(NOT EXISTS "${libraries}/libtorch_cuda.so")
    set(why "CPU only")
    if(CREDITLIB_CUDA STREQUAL "ON")
      message(FATAL_ERROR "creditlib: CREDITLIB_CUDA is ON, but ${folder} is a LibTorch for the CPU only. "
                          "Name a CUDA one, or set CREDITLIB_CUDA to AUTO.")
    endif()
  elseif(CREDITLIB_CUDA STREQUAL "AUTO" OR CREDITLIB_CUDA)
    _creditlib_missing_dependencies("${libraries}/libtorch_cuda.so" "" missing)
    if(missing AND toolkit)
      _creditlib_missing_dependencies("${libraries}/libtorch_cuda.so" "${toolkit}" missing)
      if(NOT missing)
        set(search "${toolkit}")
      endif()
    endif()
    if(NOT missing)
      set(cuda TRUE)
      set(why "with CUDA")
    else()
      list(LENGTH missing count)
      list(SUBLIST missing 0 3 missing)
      string(REPLACE ";" ", " missing "${missing}")
      set(why "CPU half only: ${count} libraries of the CUDA half are not found, ${missing} among them")
      if(NOT CREDITLIB_CUDA STREQUAL "AUTO")
        message(FATAL_ERROR "creditlib: CREDITLIB_CUDA is ON, but ${count} libraries that libtorch_cuda.so of ${folder} needs are not found, "
                            "${missing} among them. With a wheel, pip install torch without --no-deps brings them; or set CREDITLIB_CUDA to AUTO.")
      endif()
    endif()
  else()
    set(why "CPU half only: CREDITLIB_CUDA is OFF")
  endif()

  # Not libtorch.so: it is empty but for its dependencies, among which a CUDA build has the CUDA half.
  set(linked "${libraries}/libtorch_cpu.so" "${libraries}/libc10.so")
  if(cuda)
    list(PREPEND linked "${libraries}/libtorch_cuda.so" "${libraries}/libc10_cuda.so")
  endif()

  find_package(Threads REQUIRED)
  add_library(creditlib::libtorch INTERFACE IMPORTED GLOBAL)
  set_target_properties(creditlib::libtorch PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${folder}/include;${folder}/include/torch/csrc/api/include"
    INTERFACE_COMPILE_FEATURES cxx_std_20
    INTERFACE_LINK_LIBRARIES "${linked};${CMAKE_THREAD_LIBS_INIT};${CMAKE_DL_LIBS}")

  # LibTorch registers its kernels when it is loaded, so the linker must keep it although no symbol of it is named. The CPU half of a CUDA wheel
  # leaves symbols to libraries that it finds itself at run time.
  set(options "LINKER:--no-as-needed" "LINKER:--allow-shlib-undefined")
  if(search)
    list(APPEND options "LINKER:--disable-new-dtags") # an rpath that holds for the libraries' own dependencies too
    foreach(place IN LISTS search)
      list(APPEND options "LINKER:-rpath,${place}")
    endforeach()
  endif()
  set_property(TARGET creditlib::libtorch PROPERTY INTERFACE_LINK_OPTIONS "${options}")

  if(EXISTS "${folder}/share/cmake/Torch/TorchConfig.cmake")
    file(STRINGS "${folder}/share/cmake/Torch/TorchConfig.cmake" abi REGEX "_GLIBCXX_USE_CXX11_ABI=0")
    if(abi)
      set_property(TARGET creditlib::libtorch PROPERTY INTERFACE_COMPILE_DEFINITIONS _GLIBCXX_USE_CXX11_ABI=0)
    endif()
  endif()

  set(CREDITLIB_LIBTORCH_CUDA ${cuda} PARENT_SCOPE)
  set(kind "${form}, ${why}" PARENT_SCOPE)
endfunction()

if(NOT TARGET creditlib::libtorch)
  _creditlib_find_libtorch()
  _creditlib_make_libtorch("${CREDITLIB_LIBTORCH_FOLDER}")
  message(STATUS "creditlib: LibTorch ${CREDITLIB_LIBTORCH_VERSION} (${kind}) in ${CREDITLIB_LIBTORCH_FOLDER}, ${CREDITLIB_LIBTORCH_ORIGIN}")
endif()
