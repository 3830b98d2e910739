// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/error.hpp>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace creditlib::detail {

/// `given` itself or the first of the folders `under` it that holds one of the files `marks`. It is absolute, so that
/// errors about its files say where they were looked for.
///
/// Throws Error, beginning with `who` and ending with `cure`, if none does.
inline std::filesystem::path data_folder(const std::string& who, const std::filesystem::path& given,
                                         const std::vector<std::string>& under, const std::vector<std::string>& marks,
                                         const std::string& cure) {
  std::error_code no_working_folder, ignored;
  auto folder = std::filesystem::absolute(given.empty() ? "." : given, no_working_folder);
  if (no_working_folder) folder = given;
  const auto holds_one = [&](const std::filesystem::path& place) {
    for (const auto& mark : marks) {
      if (std::filesystem::exists(place / mark, ignored)) return true;
    }
    return false;
  };
  if (holds_one(folder)) return folder;
  for (const auto& name : under) {
    if (holds_one(folder / name)) return folder / name;
  }
  if (!std::filesystem::is_directory(folder, ignored)) fail(who, ": there is no folder ", folder, ": ", cure, ".");
  fail(who, ": neither ", folder, " nor its folder ", under.front(), " holds ", marks.front(), ": ", cure, ".");
}

}  // namespace creditlib::detail
