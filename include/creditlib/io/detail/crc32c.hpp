// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace creditlib::detail {

/// What each byte does to a CRC-32C (Castagnoli): its polynomial, bits reversed, is 0x82F63B78.
inline constexpr std::array<std::uint32_t, 256> crc32c_of_bytes = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1U) != 0 ? (crc >> 1U) ^ 0x82F63B78U : crc >> 1U;
    table[byte] = crc;
  }
  return table;
}();

constexpr std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const char c : bytes) {
    const auto index = static_cast<std::size_t>((crc ^ static_cast<std::uint8_t>(c)) & 0xFFU);
    crc = crc32c_of_bytes[index] ^ (crc >> 8U);
  }
  return ~crc;
}

/// As record files have it: a CRC of bytes that contain CRCs would be weak.
constexpr std::uint32_t masked_crc32c(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return ((crc >> 15U) | (crc << 17U)) + 0xA282EAD8U;
}

}  // namespace creditlib::detail
