// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/error.hpp>
#include <creditlib/io/atomic_file.hpp>
#include <creditlib/io/detail/safetensors_dtypes.hpp>
#include <creditlib/io/json_file.hpp>
#include <creditlib/io/safetensors_file.hpp>
#include <creditlib/named_tensors.hpp>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {
namespace io {

/// The contents of a safetensors file: tensors on the CPU, in the order of its header, and named free text.
struct Safetensors {
  NamedTensors tensors;
  std::map<std::string, std::string> metadata;
};

}  // namespace io

namespace detail {

inline void check_tensors_to_write(const std::filesystem::path& path, const NamedTensors& tensors) {
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    const auto refuse = [&](const auto&... parts) {
      fail("write_safetensors: ", path, " is not written, since tensor \"", name, "\" ", parts..., ".");
    };
    if (name == "__metadata__") refuse("has the name that the format reserves for metadata: rename it");
    if (!names.insert(name).second) refuse("is there twice: give each tensor its own name");
    if (!tensor.defined()) refuse("is undefined: leave it out");
    if (tensor.layout() != torch::kStrided || tensor.is_meta()) refuse("has no dense data: pass it through to_dense()");
    if (!safetensors_name_of(tensor.scalar_type())) {
      refuse("is ", dtype_text(tensor.scalar_type()), ", which the format does not have: convert it first");
    }
    if (packed_in_one(tensor.scalar_type()) != 1 && tensor.dim() == 0) {
      refuse("has no dimension along which its packed elements lie: give it one");
    }
  }
}

/// The header for tensors whose data are stored consecutively in `order`, padded so that the data begin at a multiple
/// of 8.
inline std::string safetensors_header(const std::filesystem::path& path, const NamedTensors& tensors,
                                      const std::vector<std::size_t>& order,
                                      const std::map<std::string, std::string>& metadata) {
  std::vector<std::size_t> begins(tensors.size());
  std::size_t end = 0;
  for (const auto i : order) end = (begins[i] = end) + tensors[i].second.nbytes();

  auto header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, tensor] = tensors[i];
    auto shape = tensor.sizes().vec();
    if (!shape.empty()) shape.back() *= packed_in_one(tensor.scalar_type());
    header[name] = {{"dtype", *safetensors_name_of(tensor.scalar_type())},
                    {"shape", shape},
                    {"data_offsets", {begins[i], begins[i] + tensor.nbytes()}}};
  }
  try {
    auto text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    return text;
  } catch (const nlohmann::json::exception& error) {
    fail("write_safetensors: ", path, " is not written, since a name or metadata in it is not UTF-8 (", reason(error),
         "): write them in UTF-8.");
  }
}

}  // namespace detail

namespace io {

/// Reads a safetensors file (8 bytes of header length, a JSON header, the data), as written by Python's safetensors
/// package. The header is checked completely before any tensor is made; the data are then read once, directly into the
/// tensors. SafetensorsFile reads single tensors.
///
/// - Throws Error if the file is missing or truncated, the header is not JSON or is invalid (offsets that overlap,
///   leave a gap or lie outside the file; a size that is not shape times dtype; a repeated name), or a tensor cannot be
///   read (see SafetensorsFile::tensor).
/// - Source: https://github.com/huggingface/safetensors, "Format".
inline Safetensors read_safetensors(const std::filesystem::path& path) {
  SafetensorsFile file(path, "read_safetensors");
  Safetensors result{{}, file.metadata()};
  for (const auto& name : file.names()) result.tensors.emplace_back(name, file.tensor(name));
  return result;
}

/// Writes tensors to the file `path` completely or not at all (see write_atomically), readable by Python's safetensors
/// package. Header entries keep the given order; the data are stored widest dtype first, so that each tensor is
/// aligned. Tensors may be on any device and have any strides; if necessary, contiguous CPU copies are made one at a
/// time.
///
/// - Throws Error, before the file is touched, if a name is repeated, a tensor is undefined, not dense, or of a dtype
///   that the format lacks, or a name or metadata is not UTF-8; and if the file cannot be written.
inline void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  detail::check_tensors_to_write(path, tensors);
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](auto i) { return std::pair(-tensors[i].second.element_size(), i); });
  const auto header = detail::safetensors_header(path, tensors, order, metadata);
  const auto length = static_cast<std::uint64_t>(header.size());
  write_atomically(path, [&](std::ostream& stream) {
    stream.write(reinterpret_cast<const char*>(&length), 8);
    stream << header;
    detail::translated([&] {
      for (const auto i : order) {
        if (tensors[i].second.numel() == 0) continue;
        const auto tensor =
            detail::copyable(tensors[i].second.detach()).cpu().resolve_conj().resolve_neg().contiguous();
        stream.write(static_cast<const char*>(tensor.data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
      }
    });
  });
}

}  // namespace io
}  // namespace creditlib
