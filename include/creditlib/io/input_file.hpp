#pragma once

#include <creditlib/error.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

namespace creditlib::io {

/// A regular file opened for reading, front to back, whose size is known: what every reader of the library starts with.
/// Its errors name the reader, the file, what was expected and what was got.
class InputFile {
 public:
  /// Opens `path`. `reader` begins every message; `cure` ends those about a file that is missing or cut short.
  ///
  /// Throws Error if there is no such file, if it is not a regular file, or if it may not be read.
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

  /// Bytes in the whole file.
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

  /// Goes back (or on) to byte `offset`.
  void seek(std::int64_t offset) {
    stream_.seekg(offset);
    offset_ = offset;
  }

  /// Throws Error: the reader, this file's path, then the parts.
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    detail::fail(reader_, ": ", path_, " ", parts...);
  }

 private:
  std::string reader_;
  std::filesystem::path path_;
  std::string cure_;
  std::ifstream stream_;
  std::int64_t size_ = 0, offset_ = 0;
};

}  // namespace creditlib::io
