// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/data/datasets/base.h>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace bring_your_own {

/// The digits as a data set of LibTorch's: images (1, 8, 8) float32, labels int64.
class Digits : public torch::data::datasets::Dataset<Digits> {
 public:
  enum class Split { Train, Test };
  explicit Digits(Split split);

  torch::data::Example<> get(std::size_t i) override {
    const auto at = static_cast<std::int64_t>(i);
    return {images_[at], labels_[at]};
  }
  std::optional<std::size_t> size() const override { return static_cast<std::size_t>(images_.size(0)); }

 private:
  torch::Tensor images_, labels_;
};

}  // namespace bring_your_own
