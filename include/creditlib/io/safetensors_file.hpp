// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <bit>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/io/detail/safetensors_header.hpp>
#include <creditlib/io/input_file.hpp>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {
namespace io {

static_assert(std::endian::native == std::endian::little,
              "creditlib: safetensors files are little-endian, but this host is not");

/// A safetensors file from which single tensors are read: the header when it is opened, a tensor's bytes when the tensor
/// is asked for.
///
///     io::SafetensorsFile file("model.safetensors");
///     const auto weight = file.tensor("embed.weight");
///
/// Not for two threads at once: each opens its own.
class SafetensorsFile {
 public:
  /// Opens `path` and checks its whole header. Messages start with `reader`.
  ///
  /// - Throws Error if the file is missing or truncated, or its header is invalid (see read_safetensors).
  explicit SafetensorsFile(std::filesystem::path path, std::string reader = "SafetensorsFile")
      : file_(std::move(reader), std::move(path)) {
    const auto text = header_text();
    data_begin_ = 8 + static_cast<std::int64_t>(text.size());
    header_ = detail::SafetensorsHeaderReader(file_, file_.size() - data_begin_).read(text);
    for (std::size_t i = 0; i < header_.entries.size(); ++i) {
      names_.push_back(header_.entries[i].name);
      index_.emplace(names_.back(), i);
    }
  }

  /// The tensors' names, in the header's order.
  const std::vector<std::string>& names() const { return names_; }

  /// Named free text, which Python's package calls metadata.
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  bool contains(const std::string& name) const { return index_.contains(name); }

  /// The shape that `tensor(name)` has. Reads nothing. Throws Error if the file has no such tensor.
  const std::vector<std::int64_t>& shape(const std::string& name) const { return entry(name).shape; }

  /// The dtype that `tensor(name)` has, or nullopt if LibTorch has none for it. Reads nothing. Throws Error if the file
  /// has no such tensor.
  std::optional<torch::ScalarType> dtype(const std::string& name) const { return entry(name).dtype; }

  /// The format's own name of a tensor's dtype, such as "F32". Throws Error if the file has no such tensor.
  const std::string& dtype_name(const std::string& name) const { return entry(name).dtype_name; }

  /// Reads one tensor, on the CPU. An F4 tensor of shape (.., n) is (.., n / 2), as in Python: float4_e2m1fn_x2 holds two
  /// elements in one.
  ///
  /// - Throws Error if the file has no such tensor, LibTorch has no dtype for it (F6_E2M3, F6_E3M2, F4 with an odd last
  ///   dimension), or a BOOL is neither 0 nor 1. Other tensors can still be read.
  torch::Tensor tensor(const std::string& name) {
    const auto& found = entry(name);
    if (!found.dtype) {
      file_.fail("holds tensor \"", name, "\" with the dtype \"", found.dtype_name, "\" and the shape ",
                 detail::shape_text(found.shape),
                 ", which LibTorch does not have: convert it in Python, or read only the ",
                 "others, by SafetensorsFile");
    }
    auto tensor = detail::translated([&] { return torch::empty(found.shape, *found.dtype); });
    file_.seek(data_begin_ + found.begin);
    file_.read(tensor.data_ptr(), found.end - found.begin);
    if (found.dtype == torch::kBool) check_bool(found, tensor);
    return tensor;
  }

 private:
  static constexpr std::int64_t header_limit = 100'000'000;  // the format's own

  std::string header_text() {
    std::uint64_t length = 0;
    if (file_.size() < 8) {
      file_.fail("is ", file_.size(), " bytes, too short for a safetensors file: copy it or save it again");
    }
    file_.read(&length, 8);
    if (length < 2 || length > header_limit) {
      file_.fail("begins with the header length ", length, ", expected 2 to ", header_limit,
                 ": it is damaged or not a safetensors file");
    }
    const auto data_begin = 8 + static_cast<std::int64_t>(length);
    if (data_begin > file_.size()) {
      file_.fail("is ", file_.size(), " bytes, expected at least ", data_begin, " (8 and a header of ", length,
                 "): it is truncated; copy it or save it again");
    }
    return file_.read_text(data_begin - 8);
  }

  const detail::SafetensorsEntry& entry(const std::string& name) const {
    const auto found = index_.find(name);
    if (found == index_.end()) {
      file_.fail("has no tensor \"", name, "\": it has ", names_.size(), ", listed by names()");
    }
    return header_.entries[found->second];
  }

  void check_bool(const detail::SafetensorsEntry& found, const torch::Tensor& tensor) const {
    const auto* bytes = static_cast<const unsigned char*>(tensor.data_ptr());
    const auto* bad = std::find_if(bytes, bytes + tensor.numel(), [](unsigned char byte) { return byte > 1; });
    if (bad != bytes + tensor.numel()) {
      file_.fail("is not a valid safetensors file: byte ", data_begin_ + found.begin + (bad - bytes),
                 ", in the BOOL tensor \"", found.name, "\", is ", int{*bad},
                 ", expected 0 or 1; copy it or save it again");
    }
  }

  InputFile file_;
  std::int64_t data_begin_ = 0;
  detail::SafetensorsHeader header_;
  std::vector<std::string> names_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace io
}  // namespace creditlib
