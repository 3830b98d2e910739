# SPDX-License-Identifier: Apache-2.0
# cmake -D TRAINED=results.json -D AUDITED=audit.json -P audited_as_saved.cmake: an audit of saved weights sees the vector net that the run ended
# with, and where it estimates credit: both measure the same Gamma.

file(READ "${TRAINED}" trained)
file(READ "${AUDITED}" audited)
foreach(block RANGE 3)
  string(JSON expected GET "${trained}" 42 vec diagnostics gamma_block_output ${block})
  string(JSON found GET "${audited}" runs 0 fresh_feedback ${block} gamma)
  string(SUBSTRING "${expected}" 0 6 expected_digits)
  string(SUBSTRING "${found}" 0 6 found_digits)
  if(NOT found_digits STREQUAL expected_digits)
    message(FATAL_ERROR "block ${block}: the run measured a Gamma of ${expected}, the audit ${found}")
  endif()
endforeach()
