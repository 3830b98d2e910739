# SPDX-License-Identifier: Apache-2.0
# For scripts run as cmake -D … -P script -- program argument…: sets `after_dashes` to what is behind the dashes.

set(after_dashes "")
set(past_dashes FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
  if(past_dashes)
    list(APPEND after_dashes "${CMAKE_ARGV${i}}")
  elseif("${CMAKE_ARGV${i}}" STREQUAL "--")
    set(past_dashes TRUE)
  endif()
endforeach()
