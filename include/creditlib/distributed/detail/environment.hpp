// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <creditlib/error.hpp>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

namespace creditlib::detail {

/// What the environment says of a group of processes, as torchrun sets it.
struct GroupEnvironment {
  std::int64_t rank = 0, size = 1;
  std::string host;              ///< of the store
  std::uint16_t port = 0;        ///< of the store
  bool agent_has_store = false;  ///< torchrun's agent, rather than rank 0
  std::string attempt = "0";     ///< torchrun's, which starts all processes again if one fails
};

inline std::optional<std::string> environment_variable(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != '\0' ? std::optional<std::string>(value) : std::nullopt;
}

inline std::int64_t number_of(const char* name, std::string_view value, std::int64_t least, std::int64_t most) {
  std::int64_t number = 0;
  const auto* const end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc() || stop != end || number < least || number > most) {
    fail("The environment's ", name, " is \"", value, "\", expected a whole number from ", least, " to ", most, ".");
  }
  return number;
}

/// Throws Error for variables that are missing, or do not fit together.
inline GroupEnvironment read_environment() {
  GroupEnvironment read;
  const auto rank = environment_variable("RANK"), size = environment_variable("WORLD_SIZE");
  if (!rank && !size) return read;
  const auto required = [](const char* name, const std::optional<std::string>& value, const char* other) {
    if (!value) {
      fail("The environment's ", name, " is not set, but ", other,
           " is: start the program with torchrun, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.");
    }
    return *value;
  };
  constexpr std::int64_t most = 1'000'000;
  read.size = number_of("WORLD_SIZE", required("WORLD_SIZE", size, "RANK"), 1, most);
  read.rank = number_of("RANK", required("RANK", rank, "WORLD_SIZE"), 0, most);
  if (read.rank >= read.size) {
    fail("The environment's RANK is ", read.rank, " and WORLD_SIZE is ", read.size,
         ": ranks count from 0, so RANK is to be below WORLD_SIZE.");
  }
  if (read.size == 1) return read;
  read.host = required("MASTER_ADDR", environment_variable("MASTER_ADDR"), "RANK");
  const auto port = required("MASTER_PORT", environment_variable("MASTER_PORT"), "RANK");
  read.port = static_cast<std::uint16_t>(number_of("MASTER_PORT", port, 1, 65535));
  read.agent_has_store = environment_variable("TORCHELASTIC_USE_AGENT_STORE") == "True";
  read.attempt = environment_variable("TORCHELASTIC_RESTART_COUNT").value_or("0");
  return read;
}

}  // namespace creditlib::detail
