// SPDX-License-Identifier: Apache-2.0
#include <creditlib/data/idx.hpp>

#ifdef CREDITLIB_WITH_ZLIB
#include <zlib.h>
#endif

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("an IDX file is a tensor of its dtype and sizes, whatever the dtype", "[data]") {
  const TemporaryFolder folder;
  const auto read = [&](int code, const std::vector<std::uint32_t>& sizes, const std::string& elements) {
    write_file(folder / "file", idx_file(code, sizes, elements));
    return data::read_idx(folder / "file");
  };
  const auto is = [](const torch::Tensor& found, const torch::Tensor& expected) {
    return found.scalar_type() == expected.scalar_type() && torch::equal(found, expected);
  };

  CHECK(is(read(0x08, {2, 3}, {"\0\1\2\3\4\xff", 6}), torch::tensor({0, 1, 2, 3, 4, 255}, torch::kUInt8).view({2, 3})));
  CHECK(is(read(0x09, {2}, "\1\xff"), torch::tensor({1, -1}, torch::kInt8)));
  CHECK(is(read(0x0B, {2}, "\1\2\xff\xfe"), torch::tensor({258, -2}, torch::kInt16)));
  CHECK(is(read(0x0C, {1, 2}, "\1\2\3\4\xff\xff\xff\xfe"), torch::tensor({{16909060, -2}}, torch::kInt32)));
  CHECK(is(read(0x0D, {2}, {"\x3f\x80\0\0\xc0\x20\0\0", 8}), torch::tensor({1., -2.5}, torch::kFloat32)));
  CHECK(is(read(0x0E, {1}, {"\x3f\xf8\0\0\0\0\0\0", 8}), torch::tensor({1.5}, torch::kFloat64)));
  CHECK(is(read(0x08, {}, "\7"), torch::tensor(7, torch::kUInt8)));
  CHECK(is(read(0x0D, {0, 3}, ""), torch::zeros({0, 3})));
}

TEST_CASE("an IDX size counts in all its four bytes", "[data]") {
  const TemporaryFolder folder;
  write_file(folder / "file", idx_file(8, {0x00010203}, std::string(0x00010203, '\5')));

  CHECK(data::read_idx(folder / "file").size(0) == 0x00010203);
}

TEST_CASE("an IDX file that is cut short anywhere is named, with its bytes and those expected", "[data]") {
  const TemporaryFolder folder;
  const auto good = idx_file(0x0B, {2, 3}, std::string(12, '\1'));

  for (std::size_t length = 0; length < good.size(); ++length) {
    const auto expected = length < 4 ? "at least 4" : length < 12 ? "at least 12" : "expected 24";
    write_file(folder / "file", good.substr(0, length));
    check_error([&] { data::read_idx(folder / "file", "get it again"); },
                {"read_idx: ", (folder / "file").string(), "holds " + std::to_string(length) + " bytes", expected,
                 "truncated", "get it again"});
  }
  write_file(folder / "file", good + "x");
  check_error([&] { data::read_idx(folder / "file"); }, {"holds 25 bytes, expected 24 for (2, 3) int16"});
}

TEST_CASE("what is no IDX file is refused with its first bytes", "[data]") {
  const TemporaryFolder folder;
  const auto refuses = [&](const std::string& bytes, std::initializer_list<std::string> parts) {
    write_file(folder / "file", bytes);
    check_error([&] { data::read_idx(folder / "file"); }, parts);
  };

  refuses(idx_file(0x0A, {1}, "1"), {(folder / "file").string(), "the bytes 0, 0, 10", "not an IDX file"});
  refuses("text that is none", {"the bytes 116, 101, 120"});
  refuses(idx_file(0x0E, {0xffffffff, 0xffffffff}, ""), {"holds 12 bytes, expected over 2^63"});
  check_error([&] { data::read_idx(folder / "none", "get it"); },
              {(folder / "none").string(), "cannot be found", "get it"});
}

#ifdef CREDITLIB_WITH_ZLIB

TEST_CASE("an IDX file may be gzip, whatever its name; cut short it is named", "[data]") {
  const TemporaryFolder folder;
  const auto path = folder / "file";
  const auto bytes = idx_file(8, {1000}, std::string(1000, '\3'));
  const auto file = gzopen(path.c_str(), "wb");
  REQUIRE(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())) == static_cast<int>(bytes.size()));
  REQUIRE(gzclose(file) == Z_OK);

  CHECK(torch::equal(data::read_idx(path), torch::full({1000}, 3, torch::kUInt8)));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  check_error([&] { data::read_idx(path); }, {path.string(), "truncated"});
}

#endif
