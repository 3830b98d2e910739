#pragma once

#include <creditlib/error.hpp>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <system_error>

namespace creditlib::detail {

/// `folder` itself, or the first of its subfolders `under`, that contains one of the files `marks`.
///
/// Throws Error, prefixed with `who` and ending with `cure`, if none does.
inline std::filesystem::path data_folder(const std::string& who, const std::filesystem::path& folder,
                                         std::initializer_list<const char*> under,
                                         std::initializer_list<const char*> marks, const std::string& cure) {
  std::error_code ignored;
  const auto holds_one = [&](const std::filesystem::path& place) {
    for (const auto* mark : marks) {
      if (std::filesystem::exists(place / mark, ignored)) return true;
    }
    return false;
  };
  if (holds_one(folder)) return folder;
  for (const auto* name : under) {
    if (holds_one(folder / name)) return folder / name;
  }
  if (!std::filesystem::is_directory(folder, ignored)) fail(who, ": there is no folder ", folder, ": ", cure, ".");
  fail(who, ": neither ", folder, " nor its folder ", *under.begin(), " holds ", *marks.begin(), ": ", cure, ".");
}

}  // namespace creditlib::detail
