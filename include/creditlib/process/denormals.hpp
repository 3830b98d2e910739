// SPDX-License-Identifier: Apache-2.0
#pragma once

// Moved; this header goes with 0.2.
#include <creditlib/runtime/denormals.hpp>
