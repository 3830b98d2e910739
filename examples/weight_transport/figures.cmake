# SPDX-License-Identifier: Apache-2.0
# cmake -D PROGRAM=…/weight_transport -D FOLDER=… -P figures.cmake: feedback that learns turns to the weights, or weights to
# feedback, and feedback that nothing reads does neither.

file(REMOVE_RECURSE "${FOLDER}")
execute_process(COMMAND "${PROGRAM}" --dataset digits --seeds 42 --epochs 20 --width 32 --batch-size 32 --lr 0.2 --threads 1 --quiet --output_dir
                        "${FOLDER}" RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit code ${code}:\n${output}")
endif()
file(READ "${FOLDER}/results_digits.json" results)

# degrees(VARIABLE METHOD path...): the angle at the path, less its decimals.
function(degrees variable method)
  string(JSON angle GET "${results}" 42 ${method} ${ARGN})
  if(NOT angle MATCHES "^([0-9]+)(\\.|$)")
    message(FATAL_ERROR "${method} ${ARGN} is ${angle}, expected an angle in degrees")
  endif()
  set(${variable} "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()

string(JSON angles_of_bp LENGTH "${results}" 42 bp angles weights)
if(NOT angles_of_bp EQUAL 0)
  message(FATAL_ERROR "bp has ${angles_of_bp} angles of weights with feedback, expected none")
endif()
degrees(credit bp angles credit)
if(NOT credit EQUAL 0)
  message(FATAL_ERROR "bp's gradient is ${credit} degrees from the gradient")
endif()

foreach(method fa kp wm)
  foreach(weight 0 1)
    degrees(first ${method} log angles 0 weights ${weight})
    degrees(last ${method} angles weights ${weight})
    if(method STREQUAL "wm")
      set(least 0) # mirroring has begun before the first step
    else()
      set(least 70)
    endif()
    if(first LESS least OR first GREATER 110)
      message(FATAL_ERROR "${method}: weight ${weight} begins ${first} degrees from its feedback")
    endif()
    if(method STREQUAL "fa" AND weight EQUAL 0 AND last LESS 80)
      message(FATAL_ERROR "fa: the hidden layer's weight, whose feedback nothing reads, has turned to it: ${last} degrees")
    elseif(NOT method STREQUAL "fa" AND last GREATER 60)
      message(FATAL_ERROR "${method}: weight ${weight} ends ${last} degrees from its feedback, expected 60 at most")
    endif()
  endforeach()
  degrees(credit ${method} angles credit)
  if(credit GREATER 60)
    message(FATAL_ERROR "${method}'s credit ends ${credit} degrees from the gradient, expected 60 at most")
  endif()
endforeach()
