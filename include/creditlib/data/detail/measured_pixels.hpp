// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/data/dataset.hpp>
#include <cstdint>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// Mean and deviation of pixel / pixel_max in a data set's images, one per channel. A channel of one value has the
/// deviation 1, so that it becomes 0.
inline std::pair<std::vector<double>, std::vector<double>> measured_pixels(const data::Dataset& dataset) {
  std::vector<double> mean, deviation;
  const auto values = torch::arange(256, torch::kFloat64) / dataset.pixel_max;
  for (std::int64_t c = 0; c < dataset.images.size(1); ++c) {
    auto counts = torch::zeros({256}, torch::kInt64);
    // A part at a time: bincount reads int64, eight times the images' memory.
    for (const auto& part : dataset.images.select(1, c).split(4096)) {
      counts += part.reshape(-1).to(torch::kInt64).bincount({}, 256);
    }
    const auto share = counts.to(torch::kFloat64) / counts.sum();
    mean.push_back((share * values).sum().item<double>());
    const auto variance = (share * (values - mean.back()).square()).sum().item<double>();
    deviation.push_back((counts > 0).sum().item<std::int64_t>() > 1 ? std::sqrt(variance) : 1);
  }
  return {mean, deviation};
}

}  // namespace creditlib::detail
