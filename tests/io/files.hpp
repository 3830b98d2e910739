// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/error.hpp>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <string>

#include "../test.hpp"

namespace creditlib::test {

inline void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream stream(path, std::ios::binary);
  stream << bytes;
  REQUIRE(stream.flush());
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// Checks that `action` throws creditlib::Error with one line that has each of the parts.
template <class Action>
void check_error(Action&& action, std::initializer_list<std::string> parts) {
  std::string message = "(nothing was thrown)";
  try {
    action();
  } catch (const Error& error) {
    message = error.what();
  }

  INFO(message);
  CHECK(message.find('\n') == std::string::npos);
  for (const auto& part : parts) {
    INFO("expected in it: " << part);
    CHECK(message.find(part) != std::string::npos);
  }
}

}  // namespace creditlib::test
