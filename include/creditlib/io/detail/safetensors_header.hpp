// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/byte_count.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/io/detail/safetensors_dtypes.hpp>
#include <creditlib/io/input_file.hpp>
#include <creditlib/io/json_file.hpp>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// The header's entry for one tensor: its bytes are [begin, end) of the data, which follows the header. Their number is
/// checked if LibTorch has the dtype.
struct SafetensorsEntry {
  std::string name;
  std::string dtype_name;
  std::optional<torch::ScalarType> dtype;  // none if LibTorch has no tensor for the entry
  std::vector<std::int64_t> shape;         // the tensor's
  std::int64_t begin, end;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

/// Reads a header and checks every claim in it, so that later code can rely on it.
class SafetensorsHeaderReader {
  using Json = nlohmann::ordered_json;

 public:
  /// `data` is the number of bytes of `file` that follow the header.
  SafetensorsHeaderReader(const io::InputFile& file, std::int64_t data) : file_(file), data_(data) {}

  SafetensorsHeader read(const std::string& text) const {
    const Json json = parse(text);
    SafetensorsHeader header;
    for (const auto& [name, value] : json.items()) {
      if (name == "__metadata__") {
        header.metadata = metadata(value);
      } else {
        header.entries.push_back(entry(name, value));
      }
    }
    check_layout(header.entries);
    return header;
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    file_.fail("is not a valid safetensors file: ", parts..., "; copy it or save it again");
  }

  Json parse(const std::string& text) const {
    std::vector<std::set<std::string>> names;  // seen so far, per open object
    const auto distinct = [&](int, Json::parse_event_t event, Json& value) {
      if (event == Json::parse_event_t::object_start) names.emplace_back();
      if (event == Json::parse_event_t::object_end) names.pop_back();
      if (event == Json::parse_event_t::key && !names.back().insert(value.get<std::string>()).second) {
        fail("the name ", value.dump(), " is in its header twice");
      }
      return true;
    };
    try {
      if (text.front() != '{') fail("its header at byte 8 does not begin with {");
      return Json::parse(text, distinct);
    } catch (const nlohmann::json::exception& error) {
      fail("its header at byte 8 is not JSON (", reason(error), ")");
    }
  }

  std::map<std::string, std::string> metadata(const Json& value) const {
    if (value.is_null()) return {};
    if (!value.is_object()) fail("__metadata__ is ", value.type_name(), ", expected an object of strings");
    std::map<std::string, std::string> metadata;
    for (const auto& [name, text] : value.items()) {
      if (!text.is_string()) fail("\"", name, "\" in __metadata__ is ", text.type_name(), ", expected a string");
      metadata.emplace(name, text.template get<std::string>());
    }
    return metadata;
  }

  SafetensorsEntry entry(const std::string& name, const Json& value) const {
    const Json& dtype = field(name, value, "dtype");
    if (!dtype.is_string()) fail("tensor \"", name, "\" has the dtype ", shown(dtype), ", expected a string");
    SafetensorsEntry entry{name, dtype.get<std::string>(), {}, naturals(name, value, "shape"), 0, 0};
    entry.dtype = dtype_of_safetensors_name(entry.dtype_name);
    const auto offsets = naturals(name, value, "data_offsets");
    if (offsets.size() != 2) fail("tensor \"", name, "\" has ", offsets.size(), " data_offsets, expected 2");
    const auto begin = offsets[0], end = offsets[1];
    if (begin > end || end > data_) {
      fail("tensor \"", name, "\" has data_offsets ", begin, " to ", end, ", expected a range within the ", data_,
           " bytes that follow the header (truncated?)");
    }
    entry.begin = begin;
    entry.end = end;
    if (entry.dtype) check_size(entry);
    if (entry.dtype) pack(entry);
    return entry;
  }

  void check_size(const SafetensorsEntry& entry) const {
    const auto packed = packed_in_one(*entry.dtype);
    const auto bytes = byte_count(entry.shape, static_cast<std::int64_t>(c10::elementSize(*entry.dtype)));
    if (!bytes || *bytes % packed != 0 || *bytes / packed != entry.end - entry.begin) {
      fail("tensor \"", entry.name, "\" has ", entry.end - entry.begin, " bytes of data, expected ",
           !bytes                 ? "over 2^63"
           : *bytes % packed != 0 ? "an even number of elements"
                                  : c10::str(*bytes / packed),
           " for \"", entry.dtype_name, "\" of shape ", shape_text(entry.shape));
    }
  }

  /// From the format's shape to LibTorch's, which has no dtype for packed elements in an odd last dimension, or in none.
  static void pack(SafetensorsEntry& entry) {
    const auto packed = packed_in_one(*entry.dtype);
    if (packed == 1) return;
    if (entry.shape.empty() || entry.shape.back() % packed != 0) {
      entry.dtype.reset();
    } else {
      entry.shape.back() /= packed;
    }
  }

  /// By reference: a copy of deeply nested JSON takes a deep stack.
  const Json& field(const std::string& name, const Json& value, const char* key) const {
    if (!value.is_object() || !value.contains(key)) fail("tensor \"", name, "\" has no ", key);
    return value.at(key);
  }

  std::vector<std::int64_t> naturals(const std::string& name, const Json& value, const char* key) const {
    constexpr auto limit = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    const Json& list = field(name, value, key);
    std::vector<std::int64_t> numbers;
    for (const auto& number : list) {
      if (!list.is_array() || !number.is_number_unsigned() || number.template get<std::uint64_t>() > limit) {
        fail("tensor \"", name, "\" has the ", key, " ", shown(list), ", expected whole numbers from 0 to 2^63 - 1");
      }
      numbers.push_back(number.template get<std::int64_t>());
    }
    if (!list.is_array()) fail("tensor \"", name, "\" has the ", key, " ", shown(list), ", expected an array");
    return numbers;
  }

  /// A value as messages show it; one that is nested is named by its kind alone.
  static std::string shown(const Json& value) {
    const auto nested = [](const Json& item) { return item.is_structured(); };
    if (value.is_structured() && std::any_of(value.begin(), value.end(), nested)) {
      return std::string("a nested ") + value.type_name();
    }
    return value.dump();
  }

  // Every byte of the data belongs to exactly one tensor.
  void check_layout(std::vector<SafetensorsEntry> entries) const {
    std::sort(entries.begin(), entries.end(),
              [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    std::int64_t used = 0;
    for (const auto& entry : entries) {
      if (entry.begin < used) {
        fail("tensor \"", entry.name, "\" begins at data byte ", entry.begin,
             " and overlaps the one before, which ends at ", used);
      }
      if (entry.begin > used) {
        fail("data bytes ", used, " to ", entry.begin, ", before tensor \"", entry.name, "\", belong to no tensor");
      }
      used = entry.end;
    }
    if (used != data_) fail("its tensors take ", used, " bytes of data, but ", data_, " follow the header");
  }

  const io::InputFile& file_;
  std::int64_t data_;
};

}  // namespace creditlib::detail
