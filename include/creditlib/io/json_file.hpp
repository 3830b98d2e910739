// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/error.hpp>
#include <creditlib/io/atomic_file.hpp>
#include <creditlib/io/input_file.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace creditlib {
namespace detail {

/// The message of a nlohmann-json exception without its prefix, such as "[json.exception.parse_error.101] ".
inline std::string reason(const nlohmann::json::exception& error) {
  const std::string what = error.what();
  const auto end = what.find("] ");
  return end == std::string::npos ? what : what.substr(end + 2);
}

}  // namespace detail

namespace io {

/// Writes `value` to the file `path` completely or not at all (see write_atomically), indented by 2, with keys in their
/// own order. NaN and the infinities, which JSON cannot represent, become null.
///
/// - Throws Error if the file cannot be written or a string in `value` is not UTF-8.
inline void write_json(const std::filesystem::path& path, const nlohmann::ordered_json& value) {
  std::string text;
  try {
    text = value.dump(2) + "\n";
  } catch (const nlohmann::json::exception& error) {
    detail::fail("write_json: ", path, " is not written, since a string in it is not UTF-8 (", detail::reason(error),
                 "): write names and paths in UTF-8.");
  }
  write_atomically(path, text);
}

/// Reads the JSON file `path`, with keys in the file's order.
///
/// - Throws Error if the file is missing or is not JSON (with line and column).
inline nlohmann::ordered_json read_json(const std::filesystem::path& path) {
  InputFile file("read_json", path);
  const std::string text = file.read_text(file.size());
  try {
    return nlohmann::ordered_json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    file.fail("is not JSON (", detail::reason(error), "): fix it or write it again");
  }
}

}  // namespace io
}  // namespace creditlib
