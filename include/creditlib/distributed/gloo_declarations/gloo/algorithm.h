// SPDX-License-Identifier: Apache-2.0
#pragma once

// Stands in for gloo's header of this name, which torch's wheels lack, so that ProcessGroupGloo.hpp compiles. Nothing here
// is ever made or called by creditlib. Gloo's own header is taken if there is one (-idirafter).

#include <torch/version.h>

// What ProcessGroupGloo.hpp names of gloo changes with LibTorch: these headers are for versions that tests have passed on.
#if !(TORCH_VERSION_MAJOR == 2 && (TORCH_VERSION_MINOR == 11 || TORCH_VERSION_MINOR == 15)) && \
    !defined(CREDITLIB_GLOO_DECLARATIONS_UNTESTED)
#error \
    "creditlib: gloo's headers are missing, and the declarations that stand in for them are tested with LibTorch 2.11 and 2.15 alone: install gloo's headers, or define CREDITLIB_GLOO_DECLARATIONS_UNTESTED and run the tests of creditlib/distributed"
#endif

namespace gloo {

class Algorithm;

}  // namespace gloo
