// SPDX-License-Identifier: Apache-2.0
#include <creditlib/io/json_file.hpp>
#include <limits>

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using creditlib::test::check_error;
using creditlib::test::read_file;
using creditlib::test::TemporaryFolder;
using creditlib::test::write_file;

TEST_CASE("JSON is written indented by 2, with keys in their order, and read back the same", "[io]") {
  const TemporaryFolder folder;
  const nlohmann::ordered_json value = {{"method", "dfa"}, {"accuracy", {0.1, 0.30000000000000004}}, {"a", nullptr}};

  io::write_json(folder / "file.json", value);

  CHECK(read_file(folder / "file.json") ==
        "{\n  \"method\": \"dfa\",\n  \"accuracy\": [\n    0.1,\n    0.30000000000000004\n  ],\n  \"a\": null\n}\n");
  CHECK(io::read_json(folder / "file.json") == value);
}

TEST_CASE("numbers that are not finite become null", "[io]") {
  const TemporaryFolder folder;
  const double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();

  io::write_json(folder / "file.json", {nan, infinity, -infinity, 1.5});

  CHECK(io::read_json(folder / "file.json") == nlohmann::ordered_json({nullptr, nullptr, nullptr, 1.5}));
}

TEST_CASE("a string that is not UTF-8 is refused before the old file is touched", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "file.json", "old");

  check_error([&] { io::write_json(folder / "file.json", {{"name", "\xff"}}); },
              {(folder / "file.json").string(), "UTF-8", "0xFF"});

  CHECK(read_file(folder / "file.json") == "old");
}

TEST_CASE("what is missing or is not JSON is named, with line and column", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "half.json", "{\"a\": 1,\n \"b\"");
  write_file(folder / "empty.json", "");

  check_error([&] { io::read_json(folder / "none.json"); }, {(folder / "none.json").string(), "cannot be found"});
  check_error([&] { io::read_json(folder / "half.json"); },
              {(folder / "half.json").string(), "is not JSON (parse error at line 2, column 5"});
  check_error([&] { io::read_json(folder / "empty.json"); }, {(folder / "empty.json").string(), "is not JSON"});
}
