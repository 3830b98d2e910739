// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/error.hpp>
#include <filesystem>
#include <string>

#ifdef CREDITLIB_WITH_ZLIB
#include <zlib.h>

#include <memory>
#include <vector>
#endif

namespace creditlib::io {

/// The decompressed contents of the gzip file `path`.
///
/// - Throws Error if the file is missing, truncated or damaged, or if the library was built without zlib (its CMake
///   target defines CREDITLIB_WITH_ZLIB if zlib was found).
inline std::string gunzip(const std::filesystem::path& path) {
#ifdef CREDITLIB_WITH_ZLIB
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), &gzclose);
  if (!file) detail::fail("gunzip: ", path, " cannot be opened for reading: check the path.");
  // zlib passes a file that is not gzip through unchanged.
  if (gzdirect(file.get())) detail::fail("gunzip: ", path, " is not a gzip file: download it again.");
  std::string bytes;
  std::vector<char> chunk(1 << 18);
  int got = 0;
  while ((got = gzread(file.get(), chunk.data(), static_cast<unsigned>(chunk.size()))) > 0) {
    bytes.append(chunk.data(), static_cast<std::size_t>(got));
  }
  int status = Z_OK;
  const std::string reason = gzerror(file.get(), &status);
  if (got < 0 || status < 0) {
    detail::fail("gunzip: ", path, " is truncated or damaged after ", bytes.size(), " unpacked bytes (", reason,
                 "): download it again.");
  }
  return bytes;
#else
  detail::fail("gunzip: ", path, " is gzip and this build has no zlib: unpack it with `gunzip -k ",
               path.filename().string(), "`, or build with zlib (Debian package zlib1g-dev).");
#endif
}

}  // namespace creditlib::io
