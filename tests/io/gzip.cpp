// SPDX-License-Identifier: Apache-2.0
#include <creditlib/io/gzip.hpp>

#include "../temporary_folder.hpp"
#include "files.hpp"

using creditlib::io::gunzip;
using creditlib::test::check_error;
using creditlib::test::TemporaryFolder;
using creditlib::test::write_file;

// "creditlib ", 100 times.
static const std::string packed(
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x4b\x2e\x4a\x4d\xc9\x2c\xc9\xc9\x4c\x52\x48\x1e\x65\x8d\xb2\x46\x59\xc3"
    "\x94\x05"
    "\x00\xa7\xb7\xd8\xfd\xe8\x03\x00\x00",
    39);

#ifdef CREDITLIB_WITH_ZLIB

TEST_CASE("a gzip file is unpacked", "[io]") {
  const TemporaryFolder folder;
  std::string expected;
  for (int i = 0; i < 100; ++i) expected += "creditlib ";
  write_file(folder / "file.gz", packed);

  CHECK(gunzip(folder / "file.gz") == expected);
}

TEST_CASE("a gzip file that is cut short anywhere, or changed, is named", "[io]") {
  const TemporaryFolder folder;
  auto changed = packed;
  changed[33] ^= 1;  // in the checksum

  for (std::size_t length = 3; length < packed.size(); ++length) {
    write_file(folder / "cut.gz", packed.substr(0, length));
    check_error([&] { gunzip(folder / "cut.gz"); }, {"gunzip: ", (folder / "cut.gz").string(), "truncated or damaged"});
  }
  write_file(folder / "changed.gz", changed);
  check_error([&] { gunzip(folder / "changed.gz"); }, {(folder / "changed.gz").string(), "incorrect data check"});
  check_error([&] { gunzip(folder / "none.gz"); }, {(folder / "none.gz").string(), "cannot be opened"});
}

TEST_CASE("a file that is not gzip is refused", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "plain.gz", "creditlib");

  check_error([&] { gunzip(folder / "plain.gz"); }, {"plain.gz", "not a gzip file"});
}

#else

TEST_CASE("without zlib a gzip file is refused with what to do", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "file.gz", packed);

  check_error([&] { gunzip(folder / "file.gz"); }, {(folder / "file.gz").string(), "no zlib", "gunzip -k file.gz"});
}

#endif
