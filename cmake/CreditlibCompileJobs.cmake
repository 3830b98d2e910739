# SPDX-License-Identifier: Apache-2.0
# Sets creditlib_compile_jobs, how many files compile at once: as many as there are cores and memory for, or CREDITLIB_COMPILE_JOBS.

set(CREDITLIB_COMPILE_JOBS "" CACHE STRING "How many files compile at once (empty: from the cores and the memory of this machine)")

# Sets `variable` to the memory that is available, in MiB: the machine's, or less if a control group limits it.
function(creditlib_available_memory variable)
  cmake_host_system_information(RESULT available QUERY AVAILABLE_PHYSICAL_MEMORY)
  set(group "")
  if(EXISTS /proc/self/cgroup)
    file(STRINGS /proc/self/cgroup lines REGEX "^0::/")
    string(REGEX REPLACE "^0::" "" group "${lines}")
  endif()
  foreach(file "/sys/fs/cgroup${group}/memory.max" /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes)
    if(EXISTS "${file}")
      file(STRINGS "${file}" limit LIMIT_COUNT 1)
      # A limit without end is "max", or so many digits that it is none.
      if(limit MATCHES "^[0-9]+$")
        string(LENGTH "${limit}" digits)
        if(digits LESS 16)
          math(EXPR limit "${limit} / 1048576")
          if(limit LESS available)
            set(available ${limit})
          endif()
        endif()
      endif()
    endif()
  endforeach()
  set(${variable} ${available} PARENT_SCOPE)
endfunction()

if(CREDITLIB_COMPILE_JOBS STREQUAL "")
  include(ProcessorCount)
  ProcessorCount(creditlib_compile_jobs) # the cores that this process may use; 0 if that is not known
  creditlib_available_memory(memory)
  math(EXPR most "${memory} / 2048") # a file takes 1 to 2 GB
  if(most LESS creditlib_compile_jobs)
    set(creditlib_compile_jobs ${most})
  endif()
  if(creditlib_compile_jobs LESS 1)
    set(creditlib_compile_jobs 1)
  endif()
elseif(CREDITLIB_COMPILE_JOBS MATCHES "^[1-9][0-9]*$")
  set(creditlib_compile_jobs ${CREDITLIB_COMPILE_JOBS})
else()
  message(FATAL_ERROR "CREDITLIB_COMPILE_JOBS is \"${CREDITLIB_COMPILE_JOBS}\", expected a whole number of at least 1, or nothing.")
endif()
message(STATUS "creditlib: files compiled at once: ${creditlib_compile_jobs} (CREDITLIB_COMPILE_JOBS)")
