// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <concepts>
#include <creditlib/error.hpp>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace creditlib {
namespace detail {

/// Why the last call failed, if it says.
inline std::string last_system_error() {
  return errno != 0 ? std::generic_category().message(errno) : std::string("the disk may be full");
}

inline std::filesystem::path folder_of(const std::filesystem::path& file) {
  return file.has_parent_path() ? file.parent_path() : ".";
}

/// A temporary file in the folder of `target`, which it either replaces in one step or leaves unchanged. Removed by the
/// destructor.
class PartialFile {
 public:
  explicit PartialFile(const std::filesystem::path& target) : target_(resolved(target)), path_(partial_path(target_)) {
    errno = 0;
    stream_.open(path_, std::ios::binary);
    if (!stream_) {
      fail("write_atomically: no file can be created in folder ", folder_of(target_), " (", last_system_error(),
           "): create the folder, make it writable or choose another.");
    }
  }
  ~PartialFile() {
    stream_.close();
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  std::ostream& stream() { return stream_; }

  void replace_target() {
    if (stream_) errno = 0;  // else it says why writing failed
    stream_.close();
    if (!stream_ || !flushed_to_disk()) {
      fail("write_atomically: ", target_, " cannot be written whole (", last_system_error(),
           ") and is left unchanged: free some space in the folder or choose another.");
    }
    std::error_code error;
    std::filesystem::rename(path_, target_, error);
    if (error) fail("write_atomically: ", target_, " cannot be replaced (", error.message(), "): choose another name.");
  }

 private:
  // A link keeps its target: the file it points to is replaced.
  static std::filesystem::path resolved(const std::filesystem::path& target) {
    std::error_code error;
    const auto status = std::filesystem::status(target, error);
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
      fail("write_atomically: ", target, " exists and is not a regular file: choose another name.");
    }
    const auto real = std::filesystem::canonical(target, error);
    return error ? target : real;
  }

  static std::filesystem::path partial_path(const std::filesystem::path& target) {
    std::random_device random;
    const auto number = std::to_string(random()) + std::to_string(random());
    return folder_of(target) / ("." + target.filename().string() + "." + number + ".partial");
  }

  // Without fsync, a crash of the machine soon after the rename could leave an empty file under the final name.
  bool flushed_to_disk() const {
    const int file = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    const bool stored = ::fsync(file) == 0 || errno == EINVAL;  // EINVAL: the file system has no fsync
    const int error = errno;
    ::close(file);
    errno = error;
    return stored;
  }

  std::filesystem::path target_, path_;
  std::ofstream stream_;
};

}  // namespace detail

namespace io {

/// Writes the file `path` completely or not at all.
///
/// `write(std::ostream&)` fills a temporary file in the same folder, which is flushed to disk and then renamed to
/// `path`. Concurrent readers of `path` see either the old file or the new one. If `write` throws, or the disk is full,
/// the old file is unchanged and the temporary file is removed.
///
/// - Throws Error if the folder is not writable, `path` exists and is not a regular file, or not all bytes reached the
///   disk; exceptions of `write` pass through.
template <std::invocable<std::ostream&> Write>
void write_atomically(const std::filesystem::path& path, Write&& write) {
  detail::PartialFile file(path);
  std::forward<Write>(write)(file.stream());
  file.replace_target();
}

/// The same, for existing bytes.
inline void write_atomically(const std::filesystem::path& path, std::string_view bytes) {
  write_atomically(
      path, [bytes](std::ostream& stream) { stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size())); });
}

/// Creates the folder `path` with its parents and checks, with a temporary file, that it is writable, so that a program
/// can fail before hours of training rather than after.
///
/// - Throws Error naming the folder and the system's reason.
inline void check_writable_folder(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) {
    detail::fail("check_writable_folder: folder ", path, " cannot be created (", error.message(),
                 "): choose another folder or make the one above it writable.");
  }
  detail::PartialFile(path / "creditlib-writable");
}

}  // namespace io
}  // namespace creditlib
