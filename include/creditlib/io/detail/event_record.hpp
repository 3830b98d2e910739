// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <creditlib/io/detail/crc32c.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace creditlib::detail {

/// A message of Protocol Buffers while it is written: fields by their numbers. Little-endian machines only, as all are
/// that the library supports.
class ProtoMessage {
 public:
  ProtoMessage& number(int field, std::int64_t value) {
    return key(field, 0).varint(static_cast<std::uint64_t>(value));
  }
  ProtoMessage& number(int field, double value) { return key(field, 1).raw(value); }
  ProtoMessage& number(int field, float value) { return key(field, 5).raw(value); }
  ProtoMessage& bytes(int field, std::string_view value) {
    key(field, 2).varint(value.size());
    text_.append(value);
    return *this;
  }
  ProtoMessage& message(int field, const ProtoMessage& value) { return bytes(field, value.text_); }
  ProtoMessage& numbers(int field, const std::vector<double>& values) {
    key(field, 2).varint(values.size() * sizeof(double));
    for (const double value : values) raw(value);
    return *this;
  }

  const std::string& text() const { return text_; }

 private:
  ProtoMessage& key(int field, int kind) { return varint(static_cast<std::uint64_t>(field << 3 | kind)); }
  ProtoMessage& varint(std::uint64_t value) {
    for (; value >= 128; value >>= 7U) text_.push_back(static_cast<char>(value | 128U));
    text_.push_back(static_cast<char>(value));
    return *this;
  }
  template <class Number>
  ProtoMessage& raw(Number value) {
    static_assert(std::endian::native == std::endian::little);
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }

  std::string text_;
};

/// A record of a TFRecord file: length, CRC of the length, bytes, CRC of the bytes.
inline std::string event_record(const std::string& bytes) {
  static_assert(std::endian::native == std::endian::little);
  const auto raw = [](auto value) { return std::string(reinterpret_cast<const char*>(&value), sizeof value); };
  const auto length = raw(static_cast<std::uint64_t>(bytes.size()));
  return length + raw(masked_crc32c(length)) + bytes + raw(masked_crc32c(bytes));
}

}  // namespace creditlib::detail
