// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/describe.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// What all ranks must have alike: names and their values, as text.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// "(128, 10) float32": each rank may have a device of its own.
inline std::string kind_text(const torch::Tensor& tensor) {
  return tensor.defined() ? shape_text(tensor.sizes()) + " " + dtype_text(tensor.scalar_type()) : "undefined";
}

/// A tensor's kind and, as a hash, its bytes.
inline std::string fact_of(const torch::Tensor& tensor) {
  if (!tensor.defined()) return "undefined";
  const auto here = tensor.detach().cpu().contiguous();
  const std::string_view bytes(static_cast<const char*>(here.const_data_ptr()), here.nbytes());
  return c10::str(kind_text(here), " with the hash ", std::hash<std::string_view>{}(bytes));
}
inline void add_facts(Facts& facts, const NamedTensors& named) {
  for (const auto& [name, tensor] : named) facts.emplace_back(name, fact_of(tensor));
}

/// The text that rank `from` has, on all ranks.
inline std::string shared_text(distributed::Group& group, std::string text, std::int64_t from) {
  const auto length = torch::full({}, static_cast<std::int64_t>(text.size()), torch::kInt64);
  group.broadcast({length}, from);
  text.resize(static_cast<std::size_t>(length.item<std::int64_t>()));
  const auto bytes = torch::empty({static_cast<std::int64_t>(text.size())}, torch::kUInt8);
  std::copy(text.begin(), text.end(), static_cast<char*>(bytes.mutable_data_ptr()));
  group.broadcast({bytes}, from);
  const auto* const begin = static_cast<const char*>(bytes.const_data_ptr());
  return {begin, begin + text.size()};
}

/// Throws the same Error on all ranks unless all have the same facts: "who: lr is 0.1 on rank 1, and 0.01 on rank 0".
inline void require_agreement(distributed::Group& group, const std::string& who, const Facts& facts) {
  constexpr char end_of_name = '\x1f', end_of_value = '\x1e';
  std::string text;
  for (const auto& [name, value] : facts) text += name + end_of_name + value + end_of_value;
  const auto of_rank_0 = shared_text(group, text, 0);
  const auto rank = group.rank();

  const auto differing = torch::zeros({group.size()}, torch::kInt64);
  if (text != of_rank_0) differing[rank] = 1;
  group.sum({differing});
  const auto ranks = differing.nonzero();
  if (ranks.size(0) == 0) return;

  std::string difference;
  if (text != of_rank_0) {
    std::string_view rest = of_rank_0;
    for (const auto& [name, value] : facts) {
      const auto found = rest.substr(0, rest.find(end_of_value));
      rest.remove_prefix(std::min(found.size() + 1, rest.size()));
      if (found == name + end_of_name + value) continue;
      const auto split = found.find(end_of_name);
      const auto other_name = std::string(found.substr(0, split));
      difference =
          split != std::string_view::npos && other_name == name
              ? c10::str(name, " is ", value, " on rank ", rank, ", and ", found.substr(split + 1), " on rank 0")
              : c10::str("rank ", rank, " has ", name, ", and rank 0 has ", other_name.empty() ? "nothing" : other_name,
                         " in its place");
      break;
    }
    if (difference.empty()) difference = c10::str("rank 0 has more than rank ", rank);
  }
  difference = shared_text(group, difference, ranks[0].item<std::int64_t>());
  fail(who, ": the processes do not agree: ", difference, ". Start all with the same program, options and data.");
}

}  // namespace creditlib::detail
