// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "support/settings.hpp"

namespace bench {

/// Trains on what a safetensors file says, and writes what came of it, so that another program can compare.
///
/// Read: "weights.<parameter>"; "credit.<name>", of the rule's own tensors (Stepper::credit_tensors); "x" (N, B, …) and
/// "y" (N, B), the batches of N steps. Written: "gradient.<parameter>" of the first batch, before any step, and
/// "weights.<parameter>" after N steps. Throws creditlib::Error for a file that does not fit.
void verify(const Settings& settings, const std::string& from, const std::string& to);

}  // namespace bench
