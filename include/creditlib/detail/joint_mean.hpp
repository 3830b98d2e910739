// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/distributed/group.hpp>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// Means over this rank's samples on their way to being means over the samples of all ranks. They leave in messages, one
/// as soon as it has `at_least` bytes, so that the next can be computed meanwhile.
class JointMean {
 public:
  static constexpr std::int64_t one_message = std::numeric_limits<std::int64_t>::max();

  /// `options` has the dtype and device of all means.
  JointMean(distributed::Group& group, std::int64_t samples, const torch::TensorOptions& options,
            std::int64_t at_least = one_message)
      : group_(group),
        samples_(static_cast<double>(samples)),
        options_(options.requires_grad(false)),
        at_least_(at_least) {}

  /// The next mean, of the sizes of `like`. One that is undefined counts as 0, and stays undefined if it is so on all
  /// ranks. Nobody writes into it before finish().
  void add(const torch::Tensor& mean, const torch::Tensor& like) {
    loaded_.push_back({mean, like.sizes().vec(), like.numel()});
    bytes_ += like.numel() * static_cast<std::int64_t>(options_.dtype().itemsize());
    if (bytes_ >= at_least_) leave({});
  }

  /// Calls arrived(i, mean) for each, in the order of add(): views of one tensor for each message, equal to the bit on all
  /// ranks. Replaces `totals`, numbers, by their sums over all ranks. Returns the number of all samples.
  template <class Arrived>
  torch::Tensor finish(std::vector<torch::Tensor>& totals, const Arrived& arrived) {
    const torch::NoGradGuard no_grad;
    if (!loaded_.empty() || !totals.empty() || messages_.empty()) leave(totals);
    torch::Tensor all;
    std::size_t i = 0;
    for (auto& message : messages_) {
      message.pending->wait();
      if (!all.defined()) all = message.numbers[-1].clone();
      const auto count = static_cast<std::int64_t>(message.loads.size());
      std::int64_t first = 0;
      const auto next = [&](std::int64_t size) {
        return message.numbers.narrow(0, std::exchange(first, first + size), size);
      };
      const auto sums = next(message.sizes);
      sums.div_(all);
      const auto exists = next(count).to(torch::kCPU, torch::kFloat64);
      std::int64_t begin = 0;
      for (std::int64_t k = 0; k < count; ++k) {
        const auto& load = message.loads[static_cast<std::size_t>(k)];
        const auto mean = sums.narrow(0, begin, load.numel).view(load.sizes);
        arrived(i++, exists[k].template item<double>() == 0 ? torch::Tensor() : mean);
        begin += load.numel;
      }
      if (&message != &messages_.back()) continue;
      for (auto& total : totals) total = next(1)[0];
    }
    return all;
  }

 private:
  struct Load {
    torch::Tensor mean;
    std::vector<std::int64_t> sizes;
    std::int64_t numel;
  };
  struct Message {
    torch::Tensor numbers;  ///< sums; for each, whether it is defined; of the last message totals; of the first samples
    std::int64_t sizes;     ///< of all sums
    std::vector<Load> loads;
    std::unique_ptr<distributed::Pending> pending;
  };

  /// Sends what is loaded.
  void leave(const std::vector<torch::Tensor>& totals) {
    const torch::NoGradGuard no_grad;
    std::int64_t sizes = 0;
    for (const auto& load : loaded_) sizes += load.numel;
    const bool first = messages_.empty();
    const auto count = static_cast<std::int64_t>(loaded_.size()), others = static_cast<std::int64_t>(totals.size());
    const auto numbers = torch::empty({sizes + count + others + (first ? 1 : 0)}, options_);
    const auto weight = torch::scalar_tensor(samples_, torch::TensorOptions(torch::kFloat64));
    const auto defined = numbers.narrow(0, sizes, count).zero_();
    std::int64_t begin = 0;
    for (std::int64_t k = 0; k < count; ++k) {
      auto& load = loaded_[static_cast<std::size_t>(k)];
      auto part = numbers.narrow(0, begin, load.numel).view(load.sizes);
      begin += load.numel;
      if (!load.mean.defined()) {
        part.zero_();
        continue;
      }
      at::mul_out(part, std::exchange(load.mean, {}), weight);
      defined[k].fill_(1);
    }
    for (std::int64_t k = 0; k < others; ++k) numbers[sizes + count + k].copy_(totals[static_cast<std::size_t>(k)]);
    if (first) numbers[-1].fill_(samples_);
    messages_.push_back({numbers, sizes, std::exchange(loaded_, {}), group_.begin_sum({numbers})});
    bytes_ = 0;
  }

  distributed::Group& group_;
  double samples_;
  torch::TensorOptions options_;
  std::int64_t at_least_;
  std::vector<Load> loaded_;  ///< for the next message
  std::int64_t bytes_ = 0;
  std::vector<Message> messages_;
};

}  // namespace creditlib::detail
