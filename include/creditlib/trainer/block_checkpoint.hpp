// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/jit/serialization/pickle.h>
#include <torch/types.h>

#include <algorithm>
#include <creditlib/distributed/group.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/trainer/block_split.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

/// One checkpoint of processes that have a part of it each.
namespace creditlib::detail {

/// Those of the tensors that this rank has, to rank 0.
inline void send_own(distributed::Group& group, const BlockSplit& split, const NamedTensors& named) {
  std::vector<c10::IValue> own;
  for (const auto& [name, tensor] : named) {
    if (split.owner(name) == group.rank()) own.emplace_back(c10::ivalue::Tuple::create(name, tensor.detach().cpu()));
  }
  const auto bytes = torch::jit::pickle_save(c10::ivalue::Tuple::create(std::move(own)));
  const auto size = static_cast<std::int64_t>(bytes.size());
  const auto message = torch::empty({size}, torch::kUInt8);
  std::copy(bytes.begin(), bytes.end(), static_cast<char*>(message.mutable_data_ptr()));
  group.send(torch::full({}, size, torch::kInt64), 0);
  group.send(message, 0);
}

/// What send_own() has sent from a rank, by name.
inline std::map<std::string, torch::Tensor> received_from(distributed::Group& group, std::int64_t rank) {
  const auto size = torch::zeros({}, torch::kInt64);
  group.receive(size, rank);
  const auto message = torch::empty({size.item<std::int64_t>()}, torch::kUInt8);
  group.receive(message, rank);
  const auto* const begin = static_cast<const char*>(message.const_data_ptr());
  const auto value = torch::jit::pickle_load({begin, begin + message.numel()});
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& entry : value.toTupleRef().elements()) {
    const auto& pair = entry.toTupleRef().elements();
    tensors.emplace(pair.at(0).toStringRef(), pair.at(1).toTensor());
  }
  return tensors;
}

/// All ranks' tensors of a checkpoint, on rank 0, from what each has under the same names.
inline NamedTensors gathered(distributed::Group& group, const BlockSplit& split, NamedTensors named) {
  if (group.rank() > 0) {
    send_own(group, split, named);
    return named;
  }
  for (std::int64_t rank = 1; rank < group.size(); ++rank) {
    const auto theirs = received_from(group, rank);
    for (auto& [name, tensor] : named) {
      if (const auto found = theirs.find(name); found != theirs.end()) tensor = found->second;
    }
  }
  return named;
}

}  // namespace creditlib::detail
