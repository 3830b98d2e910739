// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/StringUtil.h>

#include <chrono>
#include <creditlib/distributed/detail/group_marks.hpp>
#include <creditlib/distributed/detail/packed_tensors.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <cstring>
#include <exception>
#include <map>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A Group whose tensors go through a store of c10d: each rank writes its own, and reads those of all.
class StoreGroup final : public distributed::Group {
 public:
  StoreGroup(c10::intrusive_ptr<c10d::Store> store, std::int64_t rank, std::int64_t size,
             std::chrono::milliseconds timeout)
      : store_(std::move(store)), rank_(rank), size_(size), timeout_(timeout) {}

  std::int64_t rank() const override { return rank_; }
  std::int64_t size() const override { return size_; }

  void sum(const std::vector<torch::Tensor>& tensors) override {
    PackedTensors(tensors).exchange([&](torch::Tensor flat) {
      torch::Tensor total;
      exchange("sum", bytes_of(flat), [&](std::int64_t rank, const Bytes& bytes) {
        const auto part = tensor_of("sum", rank, bytes, flat);
        total = total.defined() ? total.add_(part) : part.clone();
      });
      flat.copy_(total);
    });
  }
  void broadcast(const std::vector<torch::Tensor>& tensors, std::int64_t from) override {
    require_rank("broadcast", from, /*other=*/false);
    PackedTensors(tensors).exchange([&](torch::Tensor flat) {
      exchange("broadcast", rank_ == from ? bytes_of(flat) : Bytes{0}, [&](std::int64_t rank, const Bytes& bytes) {
        if (rank == from && rank != rank_) flat.copy_(tensor_of("broadcast", rank, bytes, flat));
      });
    });
  }
  void send(const torch::Tensor& tensor, std::int64_t to) override {
    require_rank("send", to, /*other=*/true);
    called("send", to, [&] { store_->set(between(rank_, to), bytes_of(tensor.detach().contiguous())); });
  }
  void receive(const torch::Tensor& tensor, std::int64_t from) override {
    require_rank("receive", from, /*other=*/true);
    PackedTensors({tensor}).exchange([&](torch::Tensor flat) {
      Bytes bytes;
      called("receive", from, [&] {
        const auto key = between(from, rank_);
        bytes = read(key);
        store_->deleteKey(key);
      });
      flat.copy_(tensor_of("receive", from, bytes, flat));
    });
  }
  void barrier() override {
    exchange("barrier", {0}, [](std::int64_t, const Bytes&) {});
  }

 private:
  using Bytes = std::vector<std::uint8_t>;

  static Bytes bytes_of(const torch::Tensor& flat) {
    const auto here = flat.cpu();
    const auto* begin = static_cast<const std::uint8_t*>(here.const_data_ptr());
    return {begin, begin + here.nbytes()};
  }
  torch::Tensor tensor_of(const char* call, std::int64_t rank, const Bytes& bytes, const torch::Tensor& like) {
    if (bytes.size() != like.nbytes()) {
      failure_ = c10::str("Group::", call, " failed on rank ", rank_, ". Rank ", rank, " gave ", bytes.size(),
                          " bytes and this rank expected ", like.nbytes(),
                          ": do all make the same calls, with tensors of the same sizes?");
      throw Error(failure_);
    }
    auto tensor = torch::empty(like.sizes(), like.options().device(torch::kCPU));
    std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
    return tensor.to(like.device());
  }

  /// Writes this rank's bytes, and calls read_of(rank, bytes) for each rank, in order.
  template <class ReadOf>
  void exchange(const char* call, const Bytes& own, const ReadOf& read_of) {
    const auto number = calls_++;
    const auto key = [&](std::int64_t of, std::int64_t rank) { return c10::str("all/", of, "/", rank); };
    called(call, rank_, [&] { store_->set(key(number, rank_), own); });
    for (std::int64_t rank = 0; rank < size_; ++rank) {
      Bytes bytes;
      called(call, rank, [&] { bytes = rank == rank_ ? own : read(key(number, rank)); });
      read_of(rank, bytes);
    }
    // All have come to this call, so they have read what was written for the last one.
    if (number > 0) called(call, rank_, [&] { store_->deleteKey(key(number - 1, rank_)); });
  }

  Bytes read(const std::string& key) {
    store_->wait({key}, timeout_);
    return store_->get(key);
  }
  std::string between(std::int64_t from, std::int64_t to) {
    return c10::str(from, "-", to, "/", between_[{from, to}]++);
  }

  void require_rank(const char* call, std::int64_t rank, bool other) const {
    if (rank < 0 || rank >= size_ || (other && rank == rank_)) {
      fail("Group::", call, ": there is no ", other ? "other " : "", "rank ", rank, " among ", size_, " processes.");
    }
  }

  /// Runs `action`, which uses the store, and waits for `rank` if that is another.
  template <class Action>
  void called(const char* call, std::int64_t rank, const Action& action) {
    if (!failure_.empty()) throw Error(failure_);
    try {
      action();
    } catch (const std::exception& error) {
      const std::string said = error.what(), reason = said.substr(0, said.find('\n'));
      const auto whose = rank == rank_ ? std::string("The store does not answer.")
                                       : c10::str("Rank ", rank, " did not come within ", seconds_text(timeout_), ".");
      failure_ = c10::str("Group::", call, " failed on rank ", rank_, ". ", whose, " (", reason, ")");
      throw Error(failure_);
    }
  }

  c10::intrusive_ptr<c10d::Store> store_;
  std::int64_t rank_, size_;
  std::chrono::milliseconds timeout_;
  std::int64_t calls_ = 0;  ///< of all ranks together
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> between_;
  std::string failure_;  ///< of the first call that failed
};

}  // namespace creditlib::detail
