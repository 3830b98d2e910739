// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/error.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

namespace creditlib::io {

/// A regular file of known size, opened for sequential reading; all readers of the library use it. Its errors name the
/// reader, the file, what was expected and what was found.
class InputFile {
 public:
  /// Opens `path`. Every message starts with `reader`; those about a missing or truncated file end with `cure`.
  ///
  /// Throws Error if the file does not exist, is not a regular file, or cannot be read.
  InputFile(std::string reader, std::filesystem::path path, std::string cure = "check the path")
      : reader_(std::move(reader)), path_(std::move(path)), cure_(std::move(cure)) {
    std::error_code error;
    const auto status = std::filesystem::status(path_, error);
    if (!std::filesystem::exists(status)) fail("cannot be found: ", cure_);
    if (!std::filesystem::is_regular_file(status)) fail("is not a regular file: name a file, not a folder or a device");
    size_ = static_cast<std::int64_t>(std::filesystem::file_size(path_, error));
    stream_.open(path_, std::ios::binary);
    if (error || !stream_) fail("cannot be opened for reading: check its permissions");
  }

  const std::filesystem::path& path() const { return path_; }

  /// The size of the whole file in bytes.
  std::int64_t size() const { return size_; }

  /// Copies the next `bytes` bytes to `to`. Throws Error if the file ends before that.
  void read(void* to, std::int64_t bytes) {
    if (bytes == 0) return;
    const bool enough = bytes <= size_ - offset_;
    if (enough) stream_.read(static_cast<char*>(to), bytes);
    if (!enough || !stream_) {
      fail("is ", size_, " bytes, expected at least ", bytes, " more at byte ", offset_, ": it is truncated; ", cure_);
    }
    offset_ += bytes;
  }

  /// The next `bytes` bytes, as text.
  std::string read_text(std::int64_t bytes) {
    std::string text(static_cast<std::size_t>(bytes), '\0');
    read(text.data(), bytes);
    return text;
  }

  /// Moves to byte `offset`.
  void seek(std::int64_t offset) {
    stream_.seekg(offset);
    offset_ = offset;
  }

  /// Throws Error with the reader, this file's path, the parts and, unless they end with one, a period.
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    const std::string message = c10::str(reader_, ": ", path_, " ", parts...);
    detail::fail(message, message.ends_with('.') ? "" : ".");
  }

 private:
  std::string reader_;
  std::filesystem::path path_;
  std::string cure_;
  std::ifstream stream_;
  std::int64_t size_ = 0, offset_ = 0;
};

}  // namespace creditlib::io
