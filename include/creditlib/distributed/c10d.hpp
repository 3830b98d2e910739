// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <creditlib/distributed/detail/backend_group.hpp>
#include <creditlib/distributed/detail/store_group.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <utility>

/// Groups over c10d, PyTorch's own engine. This header, from_environment.hpp and nccl.hpp alone include it.
namespace creditlib::distributed {

/// Options of a group.
struct GroupOptions {
  /// How long a process waits for the others, when it comes and in each call.
  std::chrono::milliseconds timeout = std::chrono::minutes(5);
};

/// The processes of a backend of c10d that you have made: NCCL, UCC, MPI, Gloo with options of your own. The backend's
/// own timeout holds. Tensors of the CPU go by `device`, which NCCL needs. Throws Error if there is no backend.
inline std::shared_ptr<Group> over(c10::intrusive_ptr<c10d::Backend> backend,
                                   std::optional<torch::Device> device = {}) {
  if (!backend) detail::fail("distributed::over: there is no backend (null).");
  return std::make_shared<detail::BackendGroup>(std::move(backend), std::nullopt, std::nullopt, device);
}

/// `size` processes that reach one c10d::Store, of which this one is `rank`. Every tensor goes through the store, so this
/// is for tests and for small networks; it needs no Gloo.
///
/// - Store: a c10d::TCPStore or c10d::FileStore; a c10d::HashStore among threads of one process. Threads that step a rule
///   which runs the network itself (Vec, StatePredictor, EquilibriumPropagation) wait for each other's generators unless
///   the network has a closed form.
/// - A store that was used for another group before needs a c10d::PrefixStore around it.
/// - Throws Error if there is no store, and unless 0 <= rank < size.
inline std::shared_ptr<Group> over(c10::intrusive_ptr<c10d::Store> store, std::int64_t rank, std::int64_t size,
                                   const GroupOptions& options = {}) {
  if (!store) detail::fail("distributed::over: there is no store (null).");
  if (size < 1 || rank < 0 || rank >= size) {
    detail::fail("distributed::over: rank is ", rank, " and size ", size, ", expected 0 <= rank < size.");
  }
  return std::make_shared<detail::StoreGroup>(std::move(store), rank, size, options.timeout);
}

}  // namespace creditlib::distributed
