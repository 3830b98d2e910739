// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

// Loops are compiled for AVX-512, AVX2 and baseline x86-64, and the version is chosen when the program starts, since
// user programs are compiled for the baseline. Sanitizers do not support that choice, which is made before they are
// initialized. Tests define the macro as nothing, to test each version.
#if !defined(CREDITLIB_DETAIL_FOR_EACH_CPU) && defined(__x86_64__) && defined(__gnu_linux__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
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

/// Building blocks of loops over rows of float32, without LibTorch.
namespace creditlib::detail::rows {

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

/// e^x for x <= 0, to 2 ulp; clamped to e^-87 below -87.
CREDITLIB_DETAIL_INLINE void exp_of_negative(Floats& x) {
  x = x < -87.0f ? Floats{} - 87.0f : x;
  const Floats scaled = x * 1.44269504f - 0.5f;
  const Ints whole = __builtin_convertvector(scaled, Ints);  // toward 0: the nearest integer of x / ln 2
  const Floats n = __builtin_convertvector(whole, Floats);
  const Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Ints power = (whole + 127) << 23;
  Floats two_to_n;
  std::memcpy(&two_to_n, &power, sizeof power);
  x = p * two_to_n;
}

}  // namespace creditlib::detail::rows
