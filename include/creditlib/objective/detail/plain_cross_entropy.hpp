// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/float_rows.hpp>
#include <creditlib/objective/detail/cross_entropy_rows.hpp>
#include <cstdint>
#include <tuple>
#include <utility>

/// Cross-entropy of logits (B, C) with classes (B), int64: for float32 on the CPU in a loop over rows, since LibTorch's
/// operators take longer to call than such small tensors take to compute; elsewhere by these operators, which refuse what
/// does not fit.
namespace creditlib::detail {

/// Whether a loop can compute it.
inline bool in_rows_with_classes(const torch::Tensor& logits, const torch::Tensor& classes) {
  if (!in_rows_of_float(logits) || logits.dim() != 2) return false;
  if (!classes.is_cpu() || classes.scalar_type() != torch::kInt64 || classes.sizes() != logits.sizes().slice(0, 1))
    return false;
  const auto labels = classes.contiguous();
  const auto* first = labels.data_ptr<std::int64_t>();
  return std::all_of(first, first + labels.numel(),
                     [width = logits.size(1)](std::int64_t label) { return label >= 0 && label < width; });
}

/// Of each sample, (B). On the logits' graph if they have one.
inline torch::Tensor plain_losses(const torch::Tensor& logits, const torch::Tensor& classes) {
  if (!in_rows_with_classes(logits, classes)) return at::cross_entropy_loss(logits, classes, {}, at::Reduction::None);
  const auto losses = torch::empty({logits.size(0)}, logits.options());
  const auto labels = classes.contiguous();
  const auto width = logits.size(1);
  on_rows(logits.size(0), logits.numel(), [&](std::int64_t first, std::int64_t count) {
    rows::cross_entropy(logits.data_ptr<float>() + first * width, labels.data_ptr<std::int64_t>() + first, count, width,
                        losses.mutable_data_ptr<float>() + first, nullptr);
  });
  return losses;
}

/// softmax - onehot, (B, C).
inline torch::Tensor plain_errors(const torch::Tensor& logits, const torch::Tensor& classes) {
  if (!in_rows_with_classes(logits, classes)) {
    auto errors = logits.softmax(1);
    const auto column = classes.unsqueeze(1);
    return errors.scatter_add_(1, column, torch::full({1, 1}, -1.0, errors.options()).expand_as(column));
  }
  const auto errors = torch::empty_like(logits);
  const auto labels = classes.contiguous();
  const auto width = logits.size(1);
  on_rows(logits.size(0), logits.numel(), [&](std::int64_t first, std::int64_t count) {
    rows::cross_entropy(logits.data_ptr<float>() + first * width, labels.data_ptr<std::int64_t>() + first, count, width,
                        nullptr, errors.mutable_data_ptr<float>() + first * width);
  });
  return errors;
}

// ---- The same if some samples do not count: by operators that take few kernels on a device ----

/// Of all samples that count: the sum of their losses, and their number, 1 if there are none, so that quotients are 0.
/// Scalars, at least float32.
struct SumOfCounted {
  torch::Tensor loss, count;

  SumOfCounted(const torch::Tensor& log_p, const torch::Tensor& classes, std::int64_t ignore_index) {
    const torch::NoGradGuard no_grad;
    const bool narrow = at::isReducedFloatingType(log_p.scalar_type());  // in which the number would be rounded
    const auto wide = narrow ? log_p.to(torch::kFloat32) : log_p;
    std::tie(loss, count) = at::nll_loss_forward(wide, classes, {}, at::Reduction::Sum, ignore_index);
    count.clamp_min_(1);
  }
};

/// B over the number of samples that count, a scalar of the dtype of log_p.
inline torch::Tensor share_of_counted(const torch::Tensor& log_p, const torch::Tensor& classes,
                                      const SumOfCounted& sum) {
  const auto batch = at::scalar_tensor(classes.size(0), sum.count.scalar_type());
  return (batch / sum.count).to(log_p.scalar_type());
}

inline torch::Tensor losses_of_counted(const torch::Tensor& logits, const torch::Tensor& classes,
                                       std::int64_t ignore_index, bool divided) {
  const auto log_p = logits.log_softmax(1);
  const auto losses = at::nll_loss_nd(log_p, classes, {}, at::Reduction::None, ignore_index);
  return divided ? losses * share_of_counted(log_p, classes, SumOfCounted(log_p, classes, ignore_index)) : losses;
}

/// The errors of losses that are each multiplied by `each`, (B).
inline torch::Tensor errors_from(const torch::Tensor& log_p, const torch::Tensor& classes, std::int64_t ignore_index,
                                 const torch::Tensor& each) {
  const auto none = torch::empty({}, log_p.options());  // the total weight, which is not read without a mean
  const auto of_log_p = at::nll_loss_backward(each, log_p, classes, {}, at::Reduction::None, ignore_index, none);
  return at::_log_softmax_backward_data(of_log_p, log_p, 1, log_p.scalar_type());
}
inline torch::Tensor errors_of_counted(const torch::Tensor& logits, const torch::Tensor& classes,
                                       std::int64_t ignore_index, bool divided) {
  const torch::NoGradGuard no_grad;
  const auto log_p = logits.log_softmax(1);
  if (!divided) return errors_from(log_p, classes, ignore_index, torch::ones_like(classes, logits.options()));
  const auto share = share_of_counted(log_p, classes, SumOfCounted(log_p, classes, ignore_index));
  return errors_from(log_p, classes, ignore_index, share.expand_as(classes));
}

/// The mean of the losses that count, a scalar, and the errors: in fewer kernels than one after the other.
inline std::pair<torch::Tensor, torch::Tensor> mean_and_errors_of_counted(const torch::Tensor& logits,
                                                                          const torch::Tensor& classes,
                                                                          std::int64_t ignore_index) {
  const torch::NoGradGuard no_grad;
  const auto log_p = logits.log_softmax(1);
  const SumOfCounted sum(log_p, classes, ignore_index);
  const auto share = share_of_counted(log_p, classes, sum);
  return {(sum.loss / sum.count).to(log_p.scalar_type()),
          errors_from(log_p, classes, ignore_index, share.expand_as(classes))};
}

/// How many samples have their largest logit at their class, a scalar.
inline torch::Tensor plain_correct(const torch::Tensor& logits, const torch::Tensor& classes) {
  if (!in_rows_with_classes(logits, classes)) return logits.argmax(1).eq(classes).sum();
  auto correct = torch::empty({}, classes.options());
  const auto labels = classes.contiguous();
  *correct.mutable_data_ptr<std::int64_t>() =
      rows::count_correct(logits.data_ptr<float>(), labels.data_ptr<std::int64_t>(), logits.size(0), logits.size(1));
  return correct;
}

}  // namespace creditlib::detail
