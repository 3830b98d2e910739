// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cctype>
#include <creditlib/error.hpp>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace creditlib::detail {

/// Whether a name's extension is one of an image that image_folder reads.
inline bool is_image_name(const std::filesystem::path& path) {
  auto extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

/// Whether a file is one that desktops leave in folders, which is no data.
inline bool is_of_desktop(const std::filesystem::path& path) {
  const auto name = path.filename().string();
  return name.starts_with('.') || name == "Thumbs.db" || name == "desktop.ini";
}

/// The names of the folders in `root`, sorted. Throws Error if it has none, or holds images itself.
inline std::vector<std::string> class_folders(const std::string& who, const std::filesystem::path& root) {
  std::error_code error;
  if (!std::filesystem::is_directory(root, error)) fail(who, ": there is no folder ", root, ": check the path.");
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (is_of_desktop(entry.path())) continue;
    if (entry.is_directory()) {
      names.push_back(entry.path().filename().string());
    } else if (is_image_name(entry.path())) {
      fail(who, ": ", entry.path(), " is in no class, expected one folder per class: move it into one.");
    }
  }
  if (names.empty()) fail(who, ": ", root, " has no folders, expected one folder of images per class.");
  std::ranges::sort(names);
  return names;
}

/// The images in `folder` and its folders, sorted by path. Throws Error if there are none, or there is another file.
inline std::vector<std::filesystem::path> images_in(const std::string& who, const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (is_of_desktop(entry.path()) || entry.is_directory()) continue;
    if (!is_image_name(entry.path())) {
      fail(who, ": ", entry.path(), " is not named .png, .jpg or .jpeg: convert it, or move it out of the folder.");
    }
    files.push_back(entry.path());
  }
  if (files.empty()) fail(who, ": ", folder, " holds no images: add some, or remove the folder.");
  std::ranges::sort(files);
  return files;
}

}  // namespace creditlib::detail
