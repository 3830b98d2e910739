// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "../io/files.hpp"

namespace creditlib::test {

inline constexpr unsigned pixel(std::int64_t image, std::int64_t at) {
  return static_cast<unsigned>((7 * image + at) % 251);
}

/// Records of a CIFAR file: the labels of each, then 3,072 pixels, of which number i of record r is pixel(first + r,
/// i).
inline std::string cifar_file(const std::vector<std::vector<int>>& labels, std::int64_t first = 0) {
  std::string bytes;
  for (const auto& record : labels) {
    for (const int label : record) bytes += static_cast<char>(label);
    for (std::int64_t i = 0; i < 3072; ++i) bytes += static_cast<char>(pixel(first, i));
    ++first;
  }
  return bytes;
}

/// An IDX file of this type code and these sizes, and the elements' bytes.
inline std::string idx_file(int code, const std::vector<std::uint32_t>& sizes, const std::string& elements) {
  std::string bytes = {'\0', '\0', static_cast<char>(code), static_cast<char>(sizes.size())};
  for (const auto size : sizes) {
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(size >> shift & 255);
  }
  return bytes + elements;
}

/// The folder of real data sets that the environment names, if it does.
inline std::optional<std::filesystem::path> real_data() {
  const char* folder = std::getenv("CREDITLIB_TEST_DATA");
  return folder == nullptr || *folder == '\0' ? std::nullopt : std::optional<std::filesystem::path>(folder);
}

}  // namespace creditlib::test
