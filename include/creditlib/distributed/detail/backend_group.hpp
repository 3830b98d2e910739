// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <chrono>
#include <creditlib/distributed/detail/group_marks.hpp>
#include <creditlib/distributed/detail/packed_tensors.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A Group over a backend of c10d.
class BackendGroup final : public distributed::Group {
 public:
  using Clock = std::chrono::steady_clock;

  /// With marks it can be told which ranks are gone. Without a timeout the backend's own holds. Tensors of the CPU go by
  /// `device`, if the backend takes those of a device alone.
  explicit BackendGroup(c10::intrusive_ptr<c10d::Backend> backend, std::optional<GroupMarks> marks = {},
                        std::optional<std::chrono::milliseconds> timeout = {}, std::optional<torch::Device> device = {})
      : backend_(std::move(backend)),
        rank_(backend_->getRank()),
        size_(backend_->getSize()),
        marks_(std::move(marks)),
        timeout_(timeout),
        device_(device) {}

  std::int64_t rank() const override { return rank_; }
  std::int64_t size() const override { return size_; }

  void sum(const std::vector<torch::Tensor>& tensors) override { begin_sum(tensors)->wait(); }
  std::unique_ptr<distributed::Pending> begin_sum(const std::vector<torch::Tensor>& tensors) override {
    PackedTensors packed(tensors);
    std::vector<Message> messages;
    called("sum", {}, [&] {
      c10d::AllreduceOptions options;
      if (timeout_) options.timeout = *timeout_;
      for (const auto& flat : packed.messages()) {
        std::vector<torch::Tensor> message{there(flat)};
        messages.push_back({flat, message[0], backend_->allreduce(message, options)});
      }
    });
    return deferred([this, packed, messages]() mutable {
      called("sum", {}, [&] {
        for (const auto& [flat, message, work] : messages) {
          finish(*work);
          if (!message.is_same(flat)) flat.copy_(message);
        }
      });
      packed.unpack();
    });
  }
  void broadcast(const std::vector<torch::Tensor>& tensors, std::int64_t from) override {
    require_rank("broadcast", from, /*other=*/false);
    PackedTensors packed(tensors);
    called("broadcast", {}, [&] {
      c10d::BroadcastOptions options;
      if (timeout_) options.timeout = *timeout_;
      options.rootRank = from;
      packed.exchange([&](const torch::Tensor& flat) {
        std::vector<torch::Tensor> message{there(framed(flat))};
        finish(*backend_->broadcast(message, options));
        unframe(message[0], flat);
      });
    });
  }
  void send(const torch::Tensor& tensor, std::int64_t to) override { begin_send(tensor, to)->wait(); }
  std::unique_ptr<distributed::Pending> begin_send(const torch::Tensor& tensor, std::int64_t to) override {
    require_rank("send", to, /*other=*/true);
    Message sent;
    called("send", to, [&] {
      std::vector<torch::Tensor> message{there(framed(tensor.detach().reshape(-1)))};
      sent = {{}, message[0], backend_->send(message, static_cast<int>(to), /*tag=*/0)};
    });
    return deferred([this, to, sent] { called("send", to, [&] { finish(*sent.work, timeout_); }); });
  }
  void receive(const torch::Tensor& tensor, std::int64_t from) override { begin_receive(tensor, from)->wait(); }
  std::unique_ptr<distributed::Pending> begin_receive(const torch::Tensor& tensor, std::int64_t from) override {
    require_rank("receive", from, /*other=*/true);
    PackedTensors packed({tensor});
    std::vector<Message> messages;
    called("receive", from, [&] {
      for (const auto& flat : packed.messages()) {
        std::vector<torch::Tensor> message{there(framed(flat))};
        messages.push_back({flat, message[0], backend_->recv(message, static_cast<int>(from), /*tag=*/0)});
      }
    });
    return deferred([this, from, packed, messages]() mutable {
      called("receive", from, [&] {
        for (const auto& [flat, message, work] : messages) {
          finish(*work, timeout_);
          unframe(message, flat);
        }
      });
      packed.unpack();
    });
  }
  void barrier() override {
    if (device_) return sum({torch::zeros({1})});  // and waits for the device
    called("barrier", {}, [&] {
      c10d::BarrierOptions options;
      if (timeout_) options.timeout = *timeout_;
      finish(*backend_->barrier(options));
    });
  }

 private:
  /// A flat tensor, what is sent of it or received for it, and when that is done.
  struct Message {
    torch::Tensor flat, there;
    c10::intrusive_ptr<c10d::Work> work = {};
  };

  static void finish(c10d::Work& work, std::optional<std::chrono::milliseconds> timeout = {}) {
    if (!(timeout ? work.wait(*timeout) : work.wait())) fail("the call was aborted");
  }

  /// A message where the backend can take it.
  torch::Tensor there(const torch::Tensor& message) const {
    return device_ && message.is_cpu() ? message.to(*device_) : message;
  }

  // Gloo takes a message that is shorter than its receiver expects. (It ends the process for one that is longer, and so for
  // sums of other sizes.)

  /// On the CPU a flat tensor's bytes after their number.
  static torch::Tensor framed(const torch::Tensor& flat) {
    if (!flat.is_cpu()) return flat;
    const auto length = torch::full({1}, static_cast<std::int64_t>(flat.nbytes()), torch::kInt64);
    return at::cat({length.view(torch::kUInt8), flat.view(torch::kUInt8)});
  }
  static void unframe(torch::Tensor message, const torch::Tensor& flat) {
    if (!flat.is_cpu()) return;
    message = message.cpu();
    constexpr std::int64_t header = sizeof(std::int64_t);
    const auto sent = message.narrow(0, 0, header).view(torch::kInt64).item<std::int64_t>();
    if (sent != static_cast<std::int64_t>(flat.nbytes())) {
      fail("the message has ", sent, " bytes and this rank expects ", flat.nbytes());
    }
    flat.view(torch::kUInt8).copy_(message.narrow(0, header, sent));
  }

  void require_rank(const char* call, std::int64_t rank, bool other) const {
    if (rank < 0 || rank >= size_ || (other && rank == rank_)) {
      fail("Group::", call, ": there is no ", other ? "other " : "", "rank ", rank, " among ", size_, " processes.");
    }
  }

  /// Runs `action`, which calls the backend. If that fails, leaves the group, so that those who wait for this process
  /// see it at once.
  template <class Action>
  void called(const char* call, std::optional<std::int64_t> peer, const Action& action) {
    if (!failure_.empty()) throw Error(failure_);
    const auto begun = Clock::now();
    try {
      action();
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      const std::string reason = first_line_of(error);
      if (marks_) marks_->say_failed();
      backend_.reset();
      failure_ = c10::str("Group::", call, " failed on rank ", rank_, ". ", culprits(peer, begun), " (", reason, ")");
      throw Error(failure_);
    }
  }

  std::string culprits(std::optional<std::int64_t> peer, Clock::time_point begun) const {
    if (marks_) {
      using std::chrono::milliseconds;
      const auto timeout = timeout_.value_or(milliseconds(0));
      const auto moment = std::min<milliseconds>(timeout / 10, std::chrono::seconds(2));
      return marks_->culprits(std::max(begun + timeout, Clock::now() + moment));
    }
    if (size_ == 2) peer = 1 - rank_;
    return peer ? c10::str("Rank ", *peer, " is gone, cut off, or did not make this call in time.")
                : "Another rank is gone, cut off, or did not make this call in time.";
  }

  static std::string first_line_of(const std::exception& error) {
    const auto* ours = dynamic_cast<const c10::Error*>(&error);
    const std::string text = ours != nullptr ? ours->what_without_backtrace() : error.what();
    return text.substr(0, text.find('\n'));
  }

  c10::intrusive_ptr<c10d::Backend> backend_;
  std::int64_t rank_, size_;
  std::optional<GroupMarks> marks_;
  std::optional<std::chrono::milliseconds> timeout_;
  std::optional<torch::Device> device_;
  std::string failure_;  ///< of the first call that failed
};

}  // namespace creditlib::detail
