# SPDX-License-Identifier: Apache-2.0
# cmake -D CASE=file -D COMMANDS=compile_commands.json -D MODEL=file -D SAID=file -D DEPENDENCIES=file -P compile.cmake
# Compiles CASE (syntax only) as COMMANDS says MODEL is compiled. Writes the exit code and what the compiler says to SAID, and
# the headers of CASE to DEPENDENCIES, so that a case is compiled again only if it or one of its headers has changed.

file(READ "${COMMANDS}" commands)
string(JSON last LENGTH "${commands}")
math(EXPR last "${last} - 1")
foreach(i RANGE ${last})
  string(JSON file GET "${commands}" ${i} file)
  if(file STREQUAL MODEL)
    string(JSON command GET "${commands}" ${i} command)
    string(JSON folder GET "${commands}" ${i} directory)
    break()
  endif()
endforeach()
if(NOT command)
  message(FATAL_ERROR "${COMMANDS} has no command for ${MODEL}.")
endif()
separate_arguments(command UNIX_COMMAND "${command}")
list(FIND command -o at)
math(EXPR after "${at} + 1")
list(REMOVE_AT command ${at} ${after})
list(REMOVE_ITEM command -c "${MODEL}")
list(APPEND command -fsyntax-only -fdiagnostics-color=never -MD -MF "${DEPENDENCIES}" -MT "${SAID}" "${CASE}")

file(REMOVE "${DEPENDENCIES}")
execute_process(COMMAND ${command} WORKING_DIRECTORY "${folder}" RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT EXISTS "${DEPENDENCIES}")
  file(WRITE "${DEPENDENCIES}" "${SAID}: ${CASE}\n")
endif()
file(WRITE "${SAID}" "exit code ${code}\n${output}")
