// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/error.hpp>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

/// Training in several processes (docs/distributed.md).
namespace creditlib::distributed {

/// A call that has begun. It ends in wait(), which throws what the call would have thrown, and returns when this process
/// may use the call's tensors again.
class Pending {
 public:
  virtual ~Pending() = default;
  virtual void wait() = 0;
};

/// The processes that train one network together, each with a rank of its own, 0..size()-1.
///
/// - All of them make the same calls in the same order; send and receive are made by two. A call returns when this
///   process may use its tensors again.
/// - A call that is only begun returns at once, and nobody touches its tensors before wait() has returned. What counts is
///   the order in which calls begin.
/// - Calls come from one thread at a time: the one that calls the trainer or, for gradients by autograd, one of LibTorch's.
/// - Tensors have the same sizes and dtypes on all ranks. Those of one call can differ from each other. (Gloo ends the
///   process if a rank gives more than another expects.)
/// - Throws Error if another process is gone, or does not come in time, with its rank if that can be known. What the
///   tensors hold is then undefined, and every later call throws the same.
///
/// Made by alone(), by from_environment() (distributed/from_environment.hpp), by over() (distributed/c10d.hpp), or by a
/// class of your own, over MPI for example.
class Group {
 public:
  virtual ~Group() = default;

  virtual std::int64_t rank() const = 0;
  virtual std::int64_t size() const = 0;

  /// Replaces each tensor by its sum over all ranks. The results are equal to the bit on all of them.
  virtual void sum(const std::vector<torch::Tensor>& tensors) = 0;
  /// Replaces each tensor by that of rank `from`.
  virtual void broadcast(const std::vector<torch::Tensor>& tensors, std::int64_t from) = 0;
  /// Sends to one other rank, which receives. Two ranks that both send first may wait for each other.
  virtual void send(const torch::Tensor& tensor, std::int64_t to) = 0;
  /// Replaces the tensor by what rank `from` sends.
  virtual void receive(const torch::Tensor& tensor, std::int64_t from) = 0;
  /// Returns when all ranks have come here.
  virtual void barrier() = 0;

  // ---- Begun and waited for later, so that something is computed meanwhile. A class that does not override them sums and
  // sends when they begin, and receives in wait(). ----

  virtual std::unique_ptr<Pending> begin_sum(const std::vector<torch::Tensor>& tensors);
  virtual std::unique_ptr<Pending> begin_send(const torch::Tensor& tensor, std::int64_t to);
  virtual std::unique_ptr<Pending> begin_receive(const torch::Tensor& tensor, std::int64_t from);
};

}  // namespace creditlib::distributed

namespace creditlib::detail {

/// A call that is made in wait().
template <class Call>
class Deferred final : public distributed::Pending {
 public:
  explicit Deferred(Call call) : call_(std::move(call)) {}
  void wait() override { call_(); }

 private:
  Call call_;
};
template <class Call>
std::unique_ptr<distributed::Pending> deferred(Call call) {
  return std::make_unique<Deferred<Call>>(std::move(call));
}

}  // namespace creditlib::detail

namespace creditlib::distributed {

inline std::unique_ptr<Pending> Group::begin_sum(const std::vector<torch::Tensor>& tensors) {
  sum(tensors);
  return detail::deferred([] {});
}
inline std::unique_ptr<Pending> Group::begin_send(const torch::Tensor& tensor, std::int64_t to) {
  send(tensor, to);
  return detail::deferred([] {});
}
inline std::unique_ptr<Pending> Group::begin_receive(const torch::Tensor& tensor, std::int64_t from) {
  return detail::deferred([this, tensor, from] { receive(tensor, from); });
}

/// One process: sums, broadcasts and barriers do nothing. Throws Error for send and receive, since there is no other.
inline std::shared_ptr<Group> alone() {
  class Alone final : public Group {
   public:
    std::int64_t rank() const override { return 0; }
    std::int64_t size() const override { return 1; }
    void sum(const std::vector<torch::Tensor>&) override {}
    void broadcast(const std::vector<torch::Tensor>&, std::int64_t from) override { require(from == 0, from); }
    void send(const torch::Tensor&, std::int64_t to) override { require(false, to); }
    void receive(const torch::Tensor&, std::int64_t from) override { require(false, from); }
    void barrier() override {}

   private:
    static void require(bool there, std::int64_t rank) {
      if (!there) detail::fail("There is no rank ", rank, " to exchange tensors with: this process trains alone.");
    }
  };
  return std::make_shared<Alone>();
}

}  // namespace creditlib::distributed
