// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/byte_count.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/io/gzip.hpp>
#include <creditlib/io/input_file.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace creditlib {
namespace detail {

inline std::optional<torch::ScalarType> dtype_of_idx_code(std::int64_t code) {
  switch (code) {
    case 0x08: return torch::kUInt8;
    case 0x09: return torch::kInt8;
    case 0x0B: return torch::kInt16;
    case 0x0C: return torch::kInt32;
    case 0x0D: return torch::kFloat32;
    case 0x0E: return torch::kFloat64;
    default: return std::nullopt;
  }
}

}  // namespace detail

namespace data {

/// Reads the tensor in the IDX file `path`, with the dtype and sizes stated in the file.
///
/// The format: 2 zero bytes, a byte for the dtype, a byte for the number of dimensions, 4 bytes per size, then the
/// elements; all big-endian. A gzip file, recognized by its first bytes, is decompressed (needs zlib, see io::gunzip).
/// `cure` ends the errors about a missing or truncated file.
///
/// - Throws Error if the file is missing, is not IDX, or has another length than its sizes require.
/// - Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", "The IDX file format".
inline torch::Tensor read_idx(const std::filesystem::path& path, const std::string& cure = "check the path") {
  io::InputFile file("read_idx", path, cure);
  std::string bytes = file.read_text(file.size());
  if (bytes.starts_with("\x1f\x8b")) bytes = io::gunzip(path);
  const auto size = static_cast<std::int64_t>(bytes.size());
  const auto byte = [&](std::int64_t i) {
    return std::int64_t{static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)])};
  };
  const auto wrong_size = [&](const auto& expected, const auto&... what) {
    file.fail("holds ", size, " bytes, expected ", expected, " for ", what..., ": it is truncated or damaged; ", cure);
  };

  if (size < 4) wrong_size("at least 4", "the beginning of an IDX file");
  const auto dtype = detail::dtype_of_idx_code(byte(2));
  if (byte(0) != 0 || byte(1) != 0 || !dtype) {
    file.fail("begins with the bytes ", byte(0), ", ", byte(1), ", ", byte(2),
              ", expected 0, 0 and an IDX type (8, 9, 11, 12, 13 or 14): it is not an IDX file; ", cure);
  }
  const auto begin = 4 + 4 * byte(3);
  if (size < begin) wrong_size(c10::str("at least ", begin), "the sizes of ", byte(3), " dimensions");
  std::vector<std::int64_t> sizes;
  for (auto at = std::int64_t{4}; at < begin; at += 4) {
    sizes.push_back(byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3));
  }
  const auto item = static_cast<std::int64_t>(c10::elementSize(*dtype));
  const auto count = detail::byte_count(sizes, item);
  if (count != size - begin) {
    wrong_size(count ? c10::str(begin + *count) : "over 2^63", detail::shape_text(sizes), " ",
               detail::dtype_text(*dtype));
  }
  return detail::translated([&] {
    const auto elements = torch::from_blob(bytes.data() + begin, {*count / item, item}, torch::kUInt8);
    return elements.flip(1).view(*dtype).view(sizes);
  });
}

}  // namespace data
}  // namespace creditlib
