// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <cstring>

// Loops are compiled for AVX-512, AVX2 and baseline x86-64, and the version is chosen when the program starts, since
// user programs are compiled for the baseline. Sanitizers do not support that choice, which is made before they are
// initialized.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__has_feature)
#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer) && !__has_feature(memory_sanitizer)
#define CREDITLIB_DETAIL_FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#else
#define CREDITLIB_DETAIL_FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#endif
#ifndef CREDITLIB_DETAIL_FOR_EACH_CPU
#define CREDITLIB_DETAIL_FOR_EACH_CPU
#endif

/// Building blocks of loops over rows of float32.
namespace creditlib::detail {
namespace rows {

using Floats = float __attribute__((vector_size(64)));
using Ints = std::int32_t __attribute__((vector_size(64)));
constexpr std::int64_t lanes = 16;

#define CREDITLIB_DETAIL_INLINE __attribute__((always_inline)) inline
#define CREDITLIB_DETAIL_INLINE_LAMBDA __attribute__((always_inline))

CREDITLIB_DETAIL_INLINE void load(Floats& v, const float* from, std::int64_t count) {
  if (count < lanes) v = Floats{};
  std::memcpy(&v, from, sizeof(float) * static_cast<std::size_t>(count));
}
CREDITLIB_DETAIL_INLINE void store(float* to, const Floats& v, std::int64_t count) {
  std::memcpy(to, &v, sizeof(float) * static_cast<std::size_t>(count));
}
CREDITLIB_DETAIL_INLINE float sum(const Floats& v) {
  float __attribute__((vector_size(32))) low, high;
  std::memcpy(&low, &v, sizeof low);
  std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof low, sizeof high);
  low += high;
  return ((low[0] + low[4]) + (low[1] + low[5])) + ((low[2] + low[6]) + (low[3] + low[7]));
}
/// Calls step(i, count) along a row: with a constant number of lanes, then with the remainder.
template <class Step>
CREDITLIB_DETAIL_INLINE void in_lanes(std::int64_t width, const Step& step) {
  std::int64_t i = 0;
  for (; i + lanes <= width; i += lanes) step(i, lanes);
  if (i < width) step(i, width - i);
}

}  // namespace rows

inline bool in_rows_of_float(const torch::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == torch::kFloat32 && x.is_contiguous();
}
inline bool in_rows_or_none(const torch::Tensor& x) { return !x.defined() || in_rows_of_float(x); }
inline const float* floats_or_null(const torch::Tensor& x) { return x.defined() ? x.data_ptr<float>() : nullptr; }

}  // namespace creditlib::detail
