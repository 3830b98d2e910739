// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace creditlib::detail {

/// Tensors as few messages: those of one dtype and device one after another in a flat tensor. A contiguous tensor that
/// is the only one of its kind is its own message, without a copy.
class PackedTensors {
 public:
  explicit PackedTensors(const std::vector<torch::Tensor>& tensors) {
    const torch::NoGradGuard no_grad;
    for (const auto& tensor : tensors) add(tensor.detach());
    for (auto& message : messages_) {
      if (message.is_its_own()) {
        message.flat = message.parts[0].view(-1);
      } else {
        std::vector<torch::Tensor> rows;
        for (const auto& part : message.parts) rows.push_back(part.reshape(-1));
        message.flat = at::cat(rows);
      }
    }
  }

  /// The messages that are not empty, which may be changed.
  std::vector<torch::Tensor> messages() const {
    std::vector<torch::Tensor> all;
    for (const auto& message : messages_) {
      if (message.flat.numel() > 0) all.push_back(message.flat);
    }
    return all;
  }
  /// Writes the tensors from the messages.
  void unpack() {
    const torch::NoGradGuard no_grad;
    for (auto& message : messages_) {
      if (message.is_its_own()) continue;
      std::int64_t first = 0;
      for (auto& part : message.parts) {
        part.copy_(message.flat.narrow(0, first, part.numel()).view(part.sizes()));
        first += part.numel();
      }
    }
  }
  /// Calls action(message) for each, which may change it, and writes the tensors.
  template <class Action>
  void exchange(const Action& action) {
    const torch::NoGradGuard no_grad;
    for (const auto& message : messages()) action(message);
    unpack();
  }

 private:
  struct Message {
    std::vector<torch::Tensor> parts;
    torch::Tensor flat;

    bool is_its_own() const { return parts.size() == 1 && parts[0].is_contiguous(); }
  };

  void add(const torch::Tensor& tensor) {
    for (auto& message : messages_) {
      const auto& first = message.parts[0];
      if (first.scalar_type() != tensor.scalar_type() || first.device() != tensor.device()) continue;
      message.parts.push_back(tensor);
      return;
    }
    messages_.push_back({{tensor}, {}});
  }

  std::vector<Message> messages_;
};

}  // namespace creditlib::detail
