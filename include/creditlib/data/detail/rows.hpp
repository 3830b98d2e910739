// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/data/batch.hpp>
#include <creditlib/data/dataset.hpp>
#include <creditlib/data/detail/augmented_images.hpp>
#include <creditlib/data/tensors.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <utility>

namespace creditlib::detail {

// What Batches takes its batches from, one type per kind of source. Each has
//   source()      what the user gave, checked
//   device()      where it is
//   inputs(), targets()
//   batch(draws)  the batch of these samples, new memory

/// Rows of a data set: images that are picked, cropped, flipped and normalized.
class ImageRows {
 public:
  static constexpr std::int64_t padding = 4;

  /// Throws what AugmentedImages throws.
  ImageRows(data::Dataset source, const data::BatchOptions& options)
      : source_(std::move(source)),
        images_(source_, options.dtype.value_or(torch::kFloat32), padding),
        flatten_(options.flatten) {}

  const data::Dataset& source() const { return source_; }
  torch::Device device() const { return source_.images.device(); }
  const torch::Tensor& inputs() const { return source_.images; }
  const torch::Tensor& targets() const { return source_.labels; }

  data::Batch batch(const ImageDraws& draws) const {
    const auto input = images_(draws);
    return {flatten_ ? input.flatten(1) : input, source_.labels.index_select(0, draws.index)};
  }

 private:
  data::Dataset source_;
  AugmentedImages images_;
  bool flatten_;
};

/// The rows of a tensor at these indices, new. LibTorch does not pick single numbers of uint16, uint32 and uint64, so
/// their bits are picked as those of signed numbers.
inline torch::Tensor picked_rows(const torch::Tensor& tensor, const torch::Tensor& index) {
  const auto picked_as = [&](torch::Dtype dtype) {
    return tensor.view(dtype).index_select(0, index).view(tensor.scalar_type());
  };
  switch (tensor.scalar_type()) {
    case torch::kUInt16: return picked_as(torch::kInt16);
    case torch::kUInt32: return picked_as(torch::kInt32);
    case torch::kUInt64: return picked_as(torch::kInt64);
    default: return tensor.index_select(0, index);
  }
}

/// Rows of two tensors.
class TensorRows {
 public:
  /// Throws Error if the tensors are invalid (see Tensors::checked) or an option needs images.
  TensorRows(data::Tensors source, const data::BatchOptions& options)
      : source_(std::move(source)), flatten_(options.flatten) {
    const auto& inputs = source_.checked().inputs;
    if (options.augment) {
      fail("Batches: augment crops and flips the images of a Dataset, but these are Tensors: leave it off.");
    }
    if (options.dtype) {
      fail("Batches: dtype is for the images of a Dataset, and Tensors keep theirs (inputs are ",
           dtype_text(inputs.scalar_type()), "): leave it out, and convert the inputs with .to(dtype).");
    }
    if (options.flatten && inputs.dim() < 2) {
      fail("Batches: flatten needs inputs (N, ...) of at least two dimensions, but they are ", tensor_text(inputs),
           ": leave it off, or give inputs.unsqueeze(1).");
    }
  }

  const data::Tensors& source() const { return source_; }
  torch::Device device() const { return source_.inputs.device(); }
  const torch::Tensor& inputs() const { return source_.inputs; }
  const torch::Tensor& targets() const { return source_.targets; }

  data::Batch batch(const ImageDraws& draws) const {
    const auto input = picked_rows(source_.inputs, draws.index);
    return {flatten_ ? input.flatten(1) : input, picked_rows(source_.targets, draws.index)};
  }

 private:
  data::Tensors source_;
  bool flatten_;
};

}  // namespace creditlib::detail
