// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// What a backward pass reads in the place of parameters: feedback[i] for parameters[i], undefined for the parameter
/// itself. Empty: nothing is replaced.
struct Transport {
  std::vector<torch::Tensor> parameters, feedback;
};

/// In its scope a parameter's storage holds the numbers of its feedback, and the other way round: a backward pass that
/// has kept the parameter, or a view of it, reads the feedback. Nothing is copied and no version counter moves, so
/// autograd notices nothing. Backward passes must end inside the scope, on the CPU with their work and on a device with
/// the launch of its kernels, and nobody else may read the parameters meanwhile.
///
/// Throws Error, with nothing exchanged, unless each feedback tensor has its parameter's sizes, strides, dtype and
/// device, and each of both has a storage to itself. A parameter that is listed twice needs its feedback once, the first
/// time.
class ExchangedStorages {
 public:
  explicit ExchangedStorages(const Transport& transport) {
    check_count(transport);
    std::map<const void*, std::size_t> owner;  // of each parameter's storage
    std::set<const void*> exchanged;
    const auto& parameters = transport.parameters;
    for (std::size_t i = 0; i < parameters.size(); ++i) owner.emplace(storage_of(parameters[i]), i);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto& feedback = transport.feedback[i];
      const auto first = owner.at(storage_of(parameters[i]));
      if (first != i && parameters[i].is_same(parameters[first])) {
        check_same(transport, first, i);
        continue;
      }
      // A parameter that shares the storage of one that is replaced would be replaced too.
      if (first != i && (feedback.defined() || transport.feedback[first].defined())) refuse_shared(i);
      if (!feedback.defined()) continue;
      check_pair(i, parameters[i], feedback);
      if (owner.contains(storage_of(feedback)) || !exchanged.insert(storage_of(feedback)).second) refuse_shared(i);
      pairs_.emplace_back(parameters[i].storage(), feedback.storage());
    }
    exchange();
  }
  ~ExchangedStorages() { exchange(); }
  ExchangedStorages(const ExchangedStorages&) = delete;
  ExchangedStorages& operator=(const ExchangedStorages&) = delete;

 private:
  static const void* storage_of(const torch::Tensor& tensor) { return tensor.storage().unsafeGetStorageImpl(); }

  [[noreturn]] static void refuse_shared(std::size_t i) {
    fail("transport: parameter ", i,
         " or its feedback shares its storage with another parameter or feedback tensor, so ",
         "they cannot be exchanged; give each a storage of its own with clone().");
  }

  static void check_count(const Transport& transport) {
    if (transport.feedback.size() == transport.parameters.size()) return;
    fail("transport gave ", transport.feedback.size(), " tensors, expected ", transport.parameters.size(),
         ": one for each of the model's parameters(), undefined for one that is not replaced.");
  }

  static void check_same(const Transport& transport, std::size_t first, std::size_t second) {
    const auto &a = transport.feedback[first], &b = transport.feedback[second];
    if (!b.defined() || a.is_same(b)) return;
    fail("transport: the model's parameters() list one parameter as ", first, " and ", second,
         ", with different feedback; leave the second undefined.");
  }

  static void check_pair(std::size_t i, const torch::Tensor& parameter, const torch::Tensor& feedback) {
    if (feedback.sizes() != parameter.sizes() || feedback.scalar_type() != parameter.scalar_type() ||
        feedback.device() != parameter.device()) {
      fail("transport: the feedback for parameter ", i, " is ", tensor_text(feedback), ", expected ",
           tensor_text(parameter), ", as the parameter is.");
    }
    if (feedback.layout() != torch::kStrided) {
      fail("transport: the feedback for parameter ", i, " is sparse, expected a dense tensor; convert it with ",
           "to_dense().");
    }
    const auto fills = [](const torch::Tensor& tensor) {
      return tensor.storage_offset() == 0 && tensor.storage().nbytes() == tensor.nbytes();
    };
    if (!fills(parameter)) {
      fail("transport: parameter ", i, ", ", tensor_text(parameter), ", is a part of a larger buffer, so that its ",
           "storage cannot be exchanged with its feedback's; give each parameter a storage of its own with ",
           "parameter.set_data(parameter.clone()).");
    }
    if (feedback.strides() != parameter.strides()) {
      fail("transport: the feedback for parameter ", i, " lies in memory with strides ", shape_text(feedback.strides()),
           ", but the parameter with ", shape_text(parameter.strides()),
           "; make it by torch::empty_like(parameter).copy_(feedback).");
    }
    if (!fills(feedback)) {
      fail("transport: the feedback for parameter ", i, ", ", tensor_text(feedback),
           ", is a part of a larger buffer; give it a storage of its own with clone().");
    }
  }

  void exchange() noexcept {
    for (auto& [parameter, feedback] : pairs_) {
      auto numbers = parameter.set_data_ptr(at::DataPtr());  // gives the previous one back
      parameter.set_data_ptr_noswap(feedback.set_data_ptr(std::move(numbers)));
    }
  }

  std::vector<std::pair<c10::Storage, c10::Storage>> pairs_;
};

}  // namespace creditlib::detail
