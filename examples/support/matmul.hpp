// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace support {

/// auto, mkl, onednn, bf16.
const std::vector<std::string>& matmul_names();

/// Which of LibTorch's libraries multiplies float32 matrices on the CPU, for the whole process, from now on: as
/// creditlib::process has it, or the faster of mkl and onednn (auto).
///
/// Says on standard error what auto chose, unless quiet. Throws UsageError for onednn where it would round to bfloat16.
void set_matmul(const std::string& wanted, bool quiet);

/// What multiplies now, as results say it: "onednn", "bf16" where that was asked for, or LibTorch's own choice, "mkl".
std::string matmul_in_use();

}  // namespace support
