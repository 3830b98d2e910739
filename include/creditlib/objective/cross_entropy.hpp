// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/output_positions.hpp>
#include <creditlib/error.hpp>
#include <creditlib/objective/detail/plain_cross_entropy.hpp>
#include <cstdint>
#include <vector>

namespace creditlib {

/// Cross-entropy of the logits with class indices, or with a distribution over the classes.
///
/// - Logits (B, C), (B, N, C), (B, C, H, W) or (B, C, D, H, W); class indices, int64, (B), (B, N), (B, H, W) or
///   (B, D, H, W); distributions (soft targets) of the logits' shape and dtype.
/// - The mean of loss() over the batch is what PyTorch's cross_entropy gives with the same options: the sum over all
///   targets that count, divided by the sum of their weights. If every sample has as many positions that count, a
///   sample's loss is the mean over its own. With `sum_over_positions` it is their sum, and nothing is divided.
/// - A target with ignore_index has no loss and no error.
struct CrossEntropy {
  std::int64_t ignore_index = -100;  ///< class indices that do not count, such as padding
  double label_smoothing = 0;        ///< the part of each target that is spread evenly over all classes, 0 to 1
  torch::Tensor weight = {};         ///< (C), one weight per class; undefined for 1 each
  bool sum_over_positions = false;

  /// Per sample, (B).
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    if (plain(target)) return detail::plain_losses(logits, target);
    if (one_class_each(target)) return detail::losses_of_counted(logits, target, ignore_index, !sum_over_positions);
    const auto wanted = wanted_of(logits, target);
    const auto log_p = classes_last(logits).log_softmax(-1);
    return -(wanted * log_p).flatten(1).sum(1);
  }

  /// dloss_i/dlogits, in the logits' shape; softmax(logits) - onehot(target) without options.
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& target) const {
    if (plain(target)) return detail::plain_errors(logits, target);
    if (one_class_each(target)) return detail::errors_of_counted(logits, target, ignore_index, !sum_over_positions);
    const auto wanted = wanted_of(logits, target);
    const auto e = classes_last(logits).softmax(-1) * wanted.sum(-1, /*keepdim=*/true) - wanted;
    return detail::from_classes_last(e, logits.dim());
  }

  /// The number of targets whose class has the largest logit, as a scalar tensor: of samples, or of positions.
  torch::Tensor correct(const torch::Tensor& logits, const torch::Tensor& target) const {
    if (logits.dim() == 2 && plain(target)) return detail::plain_correct(logits, target);
    const auto dimension = detail::class_dimension(logits.dim());
    const auto label = target.is_floating_point() ? target.argmax(dimension) : target;
    return logits.argmax(dimension).eq(label).sum();
  }

  /// Throws Error unless the target is as above, on the logits' device and, if that is the CPU, in 0..C-1 or
  /// ignore_index (see in_range for others); and for options out of range.
  void check(const torch::Tensor& logits, const torch::Tensor& target) const {
    const auto dimension = detail::class_dimension(logits.dim());
    const auto classes = logits.size(dimension);
    if (classes < 2) {
      detail::fail(
          "CrossEntropy: the model has one output, whose softmax is 1 whatever it is; use SquaredError, SmoothL1 or "
          "BinaryCrossEntropy, or a model of two classes.");
    }
    if (!(label_smoothing >= 0 && label_smoothing <= 1)) {
      detail::fail("CrossEntropy: label_smoothing is ", label_smoothing, ", expected 0 to 1.");
    }
    if (weight.defined() && (weight.sizes() != torch::IntArrayRef({classes}) || !weight.is_floating_point())) {
      detail::fail("CrossEntropy: weight is ", detail::tensor_text(weight), ", expected (", classes,
                   ") of floating point: one weight per class.");
    }
    if (target.defined() && target.is_floating_point() && target.dim() == logits.dim()) {
      if (target.sizes() == logits.sizes() && target.scalar_type() == logits.scalar_type() &&
          target.device() == logits.device()) {
        return;
      }
      detail::fail("CrossEntropy: the target is ", detail::tensor_text(target), ", expected ",
                   detail::tensor_text(logits), " for a distribution over the classes.");
    }
    auto sizes = logits.sizes().vec();
    sizes.erase(sizes.begin() + dimension);
    if (!target.defined() || target.sizes() != torch::IntArrayRef(sizes) || target.scalar_type() != torch::kInt64 ||
        target.device() != logits.device()) {
      detail::fail("CrossEntropy: the target is ", detail::tensor_text(target), ", expected ",
                   detail::shape_text(sizes), " int64 on ", logits.device(), ": one class index per ",
                   sizes.size() == 1 ? "sample" : "position", ".");
    }
    if (!target.is_cpu() || target.numel() == 0) return;
    const auto labels = target.contiguous();
    const auto *first = labels.data_ptr<std::int64_t>(), *end = first + labels.numel();
    const auto* wrong = std::find_if(
        first, end, [&](std::int64_t label) { return label != ignore_index && (label < 0 || label >= classes); });
    if (wrong == end) return;
    const auto label = *wrong;
    const auto ignored = label < 0 || label == 255
                             ? c10::str("; a target that does not count is ", ignore_index, ": if here it is ", label,
                                        ", use CrossEntropy{.ignore_index = ", label, "}")
                             : "";
    detail::fail("CrossEntropy: a label is ", label, ", expected 0..", classes - 1, " (the model has ", classes,
                 " classes)", ignored, ".");
  }

  /// Labels on other devices than the CPU, which check does not look at, with the nearest class in place of each that is
  /// out of range. Undefined for other targets.
  torch::Tensor in_range(const torch::Tensor& logits, const torch::Tensor& target) const {
    if (target.is_cpu() || target.is_floating_point()) return {};
    return nearest(target, logits.size(detail::class_dimension(logits.dim())));
  }

  /// Whether the target is one class index per sample, and no option but ignore_index changes its loss.
  bool one_class_each(const torch::Tensor& target) const {
    return label_smoothing == 0 && !weight.defined() && target.dim() == 1 && !target.is_floating_point();
  }

 protected:
  torch::Tensor nearest(const torch::Tensor& labels, std::int64_t classes) const {
    return at::where(labels.ne(ignore_index), labels.clamp(0, classes - 1), labels);
  }

 private:
  static torch::Tensor classes_last(const torch::Tensor& t) { return detail::classes_last(t); }

  /// The same, where all of them count. On other devices than the CPU nobody looks, which would wait for them.
  bool plain(const torch::Tensor& target) const {
    if (!one_class_each(target) || !target.is_cpu()) return false;
    const auto labels = target.contiguous();
    const auto* first = labels.data_ptr<std::int64_t>();
    return std::find(first, first + labels.numel(), ignore_index) == first + labels.numel();
  }

  /// What the loss weighs -log p with, classes last, (B, ..., C): smoothed targets times the classes' weights, 0 for
  /// what does not count, divided by what PyTorch divides by, times B.
  torch::Tensor wanted_of(const torch::Tensor& logits, const torch::Tensor& target) const {
    const auto classes = logits.size(detail::class_dimension(logits.dim()));
    const auto weights = weight.defined() ? weight.to(logits.options()) : torch::Tensor();
    torch::Tensor wanted, counted;  // counted: the weight of each target in the mean, (B, ...)
    if (target.is_floating_point()) {
      wanted = classes_last(target);
      counted = torch::ones({1}, logits.options()).expand(wanted.sizes().slice(0, wanted.sizes().size() - 1).vec());
    } else {
      const auto counts = target.ne(ignore_index);
      const auto label = target.where(counts, 0);
      auto sizes = target.sizes().vec();
      sizes.push_back(classes);
      wanted = torch::zeros(sizes, logits.options());
      wanted.scatter_(-1, label.unsqueeze(-1), counts.unsqueeze(-1).to(wanted.scalar_type()));
      counted = counts.to(wanted.scalar_type());
      if (weights.defined()) counted = counted * weights.index_select(0, label.flatten()).view(label.sizes());
      if (label_smoothing != 0) {
        const auto even =
            counts.unsqueeze(-1).to(wanted.scalar_type()) * (label_smoothing / static_cast<double>(classes));
        wanted = wanted * (1 - label_smoothing) + even;
      }
    }
    if (target.is_floating_point() && label_smoothing != 0) {
      wanted = wanted * (1 - label_smoothing) + label_smoothing / static_cast<double>(classes);
    }
    if (weights.defined()) wanted = wanted * weights;
    if (sum_over_positions) return wanted;
    const auto total = counted.sum();
    return wanted * (static_cast<double>(logits.size(0)) / total.where(total.ne(0), 1));  // nothing counts: 0
  }
};

}  // namespace creditlib
