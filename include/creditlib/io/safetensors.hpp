// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <bit>
#include <creditlib/error.hpp>
#include <creditlib/io/atomic_file.hpp>
#include <creditlib/io/detail/safetensors_header.hpp>
#include <creditlib/io/input_file.hpp>
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

static_assert(std::endian::native == std::endian::little,
              "creditlib: safetensors files are little-endian, but this host is not");

/// The contents of a safetensors file: tensors on the CPU, in the order of its header, and named free text.
struct Safetensors {
  NamedTensors tensors;
  std::map<std::string, std::string> metadata;
};

}  // namespace io

namespace detail {

inline constexpr std::int64_t safetensors_header_limit = 100'000'000;  // the format's own

inline torch::Tensor read_tensor(io::InputFile& file, const SafetensorsEntry& entry, std::int64_t data_begin) {
  auto tensor = torch::empty(entry.shape, entry.dtype);
  file.seek(data_begin + entry.begin);
  file.read(tensor.data_ptr(), entry.end - entry.begin);
  if (entry.dtype == torch::kBool) {
    const auto* bytes = static_cast<const unsigned char*>(tensor.data_ptr());
    const auto* bad = std::find_if(bytes, bytes + tensor.numel(), [](unsigned char byte) { return byte > 1; });
    if (bad != bytes + tensor.numel()) {
      file.fail("is not a valid safetensors file: byte ", data_begin + entry.begin + (bad - bytes),
                ", in the BOOL tensor \"", entry.name, "\", is ", int{*bad},
                ", expected 0 or 1; copy it or save it again");
    }
  }
  return tensor;
}

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
    header[name] = {{"dtype", *safetensors_name_of(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
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
/// tensors.
///
/// - Throws Error if the file is missing or truncated, the header is not JSON or is invalid (offsets that overlap,
///   leave a gap or lie outside the file; a size that is not shape times dtype; an unknown dtype; a repeated name), or
///   a BOOL is neither 0 nor 1.
/// - Source: https://github.com/huggingface/safetensors, "Format".
inline Safetensors read_safetensors(const std::filesystem::path& path) {
  InputFile file("read_safetensors", path);
  std::uint64_t length = 0;
  if (file.size() < 8)
    file.fail("is ", file.size(), " bytes, too short for a safetensors file: copy it or save it again");
  file.read(&length, 8);
  if (length < 2 || length > detail::safetensors_header_limit) {
    file.fail("begins with the header length ", length, ", expected 2 to ", detail::safetensors_header_limit,
              ": it is damaged or not a safetensors file");
  }
  const auto data_begin = 8 + static_cast<std::int64_t>(length);
  if (data_begin > file.size()) {
    file.fail("is ", file.size(), " bytes, expected at least ", data_begin, " (8 and a header of ", length,
              "): it is truncated; copy it or save it again");
  }
  const auto text = file.read_text(data_begin - 8);
  auto header = detail::SafetensorsHeaderReader(file, file.size() - data_begin).read(text);
  Safetensors result{{}, std::move(header.metadata)};
  detail::translated([&] {
    for (const auto& entry : header.entries) {
      result.tensors.emplace_back(entry.name, detail::read_tensor(file, entry, data_begin));
    }
  });
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
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return tensors[a].second.element_size() > tensors[b].second.element_size(); });
  const auto header = detail::safetensors_header(path, tensors, order, metadata);
  const auto length = static_cast<std::uint64_t>(header.size());
  write_atomically(path, [&](std::ostream& stream) {
    stream.write(reinterpret_cast<const char*>(&length), 8);
    stream << header;
    detail::translated([&] {
      for (const auto i : order) {
        if (tensors[i].second.numel() == 0) continue;
        const auto tensor = tensors[i].second.detach().cpu().resolve_conj().resolve_neg().contiguous();
        stream.write(static_cast<const char*>(tensor.data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
      }
    });
  });
}

}  // namespace io
}  // namespace creditlib
