// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <creditlib/io/atomic_file.hpp>
#include <stdexcept>

#include "../small_files.hpp"
#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using creditlib::test::check_error;
using creditlib::test::read_file;
using creditlib::test::SmallFiles;
using creditlib::test::TemporaryFolder;
using creditlib::test::write_file;

static auto files_in(const TemporaryFolder& folder) {
  return std::distance(std::filesystem::directory_iterator(folder.path()), std::filesystem::directory_iterator());
}

TEST_CASE("a file is written whole, over the old one, and nothing else is left in the folder", "[io]") {
  const TemporaryFolder folder;
  const std::string bytes("a\0b\n\xff", 5);

  io::write_atomically(folder / "file", "something that is longer");
  io::write_atomically(folder / "file", bytes);

  CHECK(read_file(folder / "file") == bytes);
  CHECK(files_in(folder) == 1);
}

TEST_CASE("until it is whole, who reads the file sees the old one", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");

  io::write_atomically(folder / "file", [&](std::ostream& stream) {
    stream << "new" << std::flush;
    CHECK(read_file(folder / "file") == "old");
  });

  CHECK(read_file(folder / "file") == "new");
}

TEST_CASE("a writer that throws, or whose stream fails, leaves the old file and no other", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");

  CHECK_THROWS_AS(io::write_atomically(folder / "file",
                                       [](std::ostream& stream) {
                                         stream << "half";
                                         throw std::runtime_error("no more");
                                       }),
                  std::runtime_error);
  check_error([&] { io::write_atomically(folder / "file", [](auto& stream) { stream.setstate(std::ios::badbit); }); },
              {(folder / "file").string(), "cannot be written whole (the disk may be full)", "left unchanged"});

  CHECK(read_file(folder / "file") == "old");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("what the system says of a failed write is in the error, whenever it failed", "[io]") {
  const TemporaryFolder folder;
  const SmallFiles small(4096);

  for (const std::size_t size : {5'000UL, 1'000'000UL}) {  // when the file is closed, and before
    check_error([&] { io::write_atomically(folder / "file", std::string(size, 'x')); },
                {(folder / "file").string(), "cannot be written whole (File too large)", "free some space"});
    CHECK(files_in(folder) == 0);
  }
}

TEST_CASE("a folder that cannot be written to is named, with the reason", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "file", "");

  check_error([&] { io::write_atomically(folder / "none" / "file", "x"); },
              {(folder / "none").string() + '"', "No such file or directory"});
  check_error([&] { io::write_atomically(folder / "file" / "below", "x"); },
              {(folder / "file").string() + '"', "Not a dir"});
}

TEST_CASE("what is not a regular file is never replaced", "[io]") {
  const TemporaryFolder folder;

  check_error([&] { io::write_atomically(folder.path(), "x"); }, {folder.path().string(), "not a regular file"});
  check_error([&] { io::write_atomically("/dev/null", "x"); }, {"/dev/null", "not a regular file"});

  CHECK(std::filesystem::is_character_file("/dev/null"));
}

TEST_CASE("a link stays a link: what it points to is replaced", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "below" / "file", "old");
  std::filesystem::create_symlink("below/file", folder / "link");

  io::write_atomically(folder / "link", "new");

  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(read_file(folder / "below" / "file") == "new");
}

TEST_CASE("a name without a folder is written to the current one", "[io]") {
  const TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());

  io::write_atomically("file", "here");
  std::filesystem::current_path(before);

  CHECK(read_file(folder / "file") == "here");
}

TEST_CASE("a new file has the permissions that any new file has", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "plain", "");

  io::write_atomically(folder / "file", "");

  CHECK(std::filesystem::status(folder / "file").permissions() ==
        std::filesystem::status(folder / "plain").permissions());
}

TEST_CASE("a writable folder is made where it is missing, and left empty", "[io]") {
  const TemporaryFolder folder;

  io::check_writable_folder(folder / "results" / "" / "today");
  io::check_writable_folder(folder / "results");
  std::filesystem::create_directories(folder / "other" / "check");
  io::check_writable_folder(folder / "other");

  CHECK(std::filesystem::is_empty(folder / "results" / "today"));
  CHECK(files_in(folder) == 2);
}

TEST_CASE("a folder that cannot be made is named, with the reason", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "file", "");

  check_error([&] { io::check_writable_folder(folder / "file" / "results"); },
              {"check_writable_folder", (folder / "file" / "results").string(), "Not a directory"});
  check_error([&] { io::check_writable_folder(folder / "file"); }, {(folder / "file").string(), "cannot be created"});
  check_error([&] { io::check_writable_folder("/proc"); }, {"\"/proc"});
  check_error([&] { io::check_writable_folder(folder / std::string(300, 'a')); }, {"cannot be created", "too long"});
}
