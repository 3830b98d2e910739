// SPDX-License-Identifier: Apache-2.0
#include <creditlib/io/input_file.hpp>

#include "../temporary_folder.hpp"
#include "files.hpp"

using creditlib::io::InputFile;
using creditlib::test::check_error;
using creditlib::test::TemporaryFolder;
using creditlib::test::write_file;

TEST_CASE("a file is read front to back, and again from where one seeks", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "file", "0123456789");
  InputFile file("reader", folder / "file");

  CHECK(file.size() == 10);
  CHECK(file.read_text(3) == "012");
  CHECK(file.read_text(0).empty());
  CHECK(file.read_text(7) == "3456789");
  file.seek(8);
  CHECK(file.read_text(2) == "89");
}

TEST_CASE("reading past the end says how many bytes there are and how many were expected where", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "file", "0123456789");
  InputFile file("reader", folder / "file", "get it again");
  file.read_text(4);

  check_error([&] { file.read_text(7); },
              {"reader: ", (folder / "file").string(), "is 10 bytes", "7 more at byte 4", "truncated", "get it again"});
}

TEST_CASE("a file that is missing, or no file, is named", "[io]") {
  const TemporaryFolder folder;

  check_error([&] { InputFile("reader", folder / "none", "get it"); },
              {"reader: ", (folder / "none").string(), "cannot be found", "get it"});
  check_error([&] { InputFile("reader", folder.path()); }, {folder.path().string(), "not a regular file"});
}
