// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/detail/row_loops.hpp>
#include <cstdint>
#include <limits>

/// Cross-entropy of rows of logits (count, classes) with class indices in 0..classes-1, (count).
namespace creditlib::detail::rows {

/// losses (count): -log softmax of the class; errors (count, classes): softmax - onehot. Either may be null.
CREDITLIB_DETAIL_FOR_EACH_CPU inline void cross_entropy(const float* logits, const std::int64_t* labels,
                                                        std::int64_t count, std::int64_t classes, float* losses,
                                                        float* errors) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (std::int64_t row = 0; row < count; ++row, logits += classes) {
    const auto load_logits = [&](Floats& v, std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      load(v, logits + i, n);
      for (std::int64_t j = n; j < lanes; ++j) v[j] = -infinity;  // lanes past the end hold no data
    };
    Floats tops = Floats{} - infinity, total{};
    in_lanes(classes, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      Floats v;
      load_logits(v, i, n);
      tops = v > tops ? v : tops;
    });
    float top = tops[0];
    for (std::int64_t j = 1; j < lanes; ++j) top = tops[j] > top ? tops[j] : top;
    in_lanes(classes, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      Floats below, power;
      load_logits(below, i, n);
      power = below -= top;
      exp_of_negative(power);
      power = below < -87.0f ? Floats{} : power;  // below the normal range
      total += power;
      if (errors != nullptr) store(errors + i, power, n);
    });
    const float all = sum(total);
    const auto label = labels[row];
    if (losses != nullptr) losses[row] = std::log(all) - (logits[label] - top);
    if (errors == nullptr) continue;
    in_lanes(classes, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      Floats p;
      load(p, errors + i, n);
      p /= all;
      store(errors + i, p, n);
    });
    errors[label] -= 1;
    errors += classes;
  }
}

/// In how many rows the class has the largest logit; of several, the first is the largest, and NaN is larger than all.
inline std::int64_t count_correct(const float* logits, const std::int64_t* labels, std::int64_t count,
                                  std::int64_t classes) {
  std::int64_t correct = 0;
  for (std::int64_t row = 0; row < count; ++row, logits += classes) {
    std::int64_t largest = 0;
    for (std::int64_t c = 1; c < classes; ++c) {
      const float present = logits[largest];
      if (logits[c] > present || (std::isnan(logits[c]) && !std::isnan(present))) largest = c;
    }
    if (largest == labels[row]) ++correct;
  }
  return correct;
}

}  // namespace creditlib::detail::rows
