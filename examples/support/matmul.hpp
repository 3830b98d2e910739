#pragma once

#include <string>
#include <vector>

namespace support {

/// auto, mkl, onednn, bf16.
const std::vector<std::string>& matmul_names();

/// Which of LibTorch's libraries multiplies float32 matrices on the CPU, for the whole process, from now on:
///
///   mkl     LibTorch's own choice (MKL in its wheels)
///   onednn  oneDNN, which uses more of many AMD processors; refused where it would round to bfloat16 (processors with
///   AMX) bf16    oneDNN, also where it rounds to bfloat16 auto    oneDNN where it is faster by a short timing and as
///   accurate as mkl against double, mkl elsewhere
///
/// Says on standard error what auto chose, unless quiet. Throws UsageError for onednn where it is refused.
void choose_matmul(const std::string& wanted, bool quiet);

/// What multiplies now, as results say it: "onednn" or LibTorch's own choice, "mkl".
std::string matmul_in_use();

}  // namespace support
