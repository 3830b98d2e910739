// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <creditlib/io/safetensors.hpp>
#include <creditlib/io/safetensors_file.hpp>
#include <cstring>
#include <filesystem>

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using creditlib::test::check_error;
using creditlib::test::TemporaryFolder;
using creditlib::test::write_file;

// A file of these entries, {"name": {..}, ..} without the braces, and so many bytes of data: 0, 1, 2, ...
static std::string file_with_entries(const std::string& entries, std::size_t data) {
  const std::string header = "{" + entries + "}";
  const std::uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  bytes += header;
  for (std::size_t i = 0; i < data; ++i) bytes += static_cast<char>(i);
  return bytes;
}

static std::string entry_text(const std::string& name, const std::string& dtype, const std::string& shape,
                              std::int64_t begin, std::int64_t end) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[)" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

TEST_CASE("single tensors are read, in any order, with what the header says of them", "[io]") {
  const TemporaryFolder folder;
  const auto a = torch::randn({2, 3}), b = torch::randn({4}, torch::kFloat64);
  io::write_safetensors(folder / "file", {{"a", a}, {"b", b}, {"empty", torch::zeros({0, 3})}}, {{"k", "v"}});

  io::SafetensorsFile file(folder / "file");

  CHECK(file.names() == std::vector<std::string>{"a", "b", "empty"});
  CHECK(file.metadata() == std::map<std::string, std::string>{{"k", "v"}});
  CHECK(file.contains("a"));
  CHECK_FALSE(file.contains("c"));
  CHECK(file.shape("a") == std::vector<std::int64_t>{2, 3});
  CHECK(file.dtype("b") == torch::kFloat64);
  CHECK(file.dtype_name("b") == "F64");
  CHECK(file.tensor("b").equal(b));
  CHECK(file.tensor("a").equal(a));
  CHECK(file.tensor("a").equal(a));
  CHECK(file.tensor("empty").sizes() == torch::IntArrayRef({0, 3}));
  check_error([&] { file.tensor("c"); },
              {"SafetensorsFile: \"" + (folder / "file").string(), "has no tensor \"c\"", "it has 3"});
  check_error([&] { file.shape("c"); }, {"has no tensor \"c\""});
}

TEST_CASE("one tensor of a large file is read without reading the others", "[io]") {
  const TemporaryFolder folder;
  const std::int64_t large = std::int64_t{1} << 40;  // a sparse file: it takes no room on the disk
  write_file(folder / "file", file_with_entries(entry_text("small", "U8", "[4]", 0, 4) + "," +
                                                    entry_text("large", "U8", "[1099511627776]", 4, 4 + large),
                                                4));
  std::error_code error;
  std::filesystem::resize_file(folder / "file", std::filesystem::file_size(folder / "file") + large, error);
  if (error) {
    SUCCEED("skipped: no file of 1 TiB can be made here");
    return;
  }
  io::SafetensorsFile file(folder / "file");
  CHECK(file.shape("large") == std::vector<std::int64_t>{large});
  CHECK(file.tensor("small").equal(torch::arange(4, torch::kUInt8)));
}

TEST_CASE("dtypes that LibTorch lacks are an error for their tensor alone", "[io]") {
  const TemporaryFolder folder;
  write_file(
      folder / "file",
      file_with_entries(entry_text("six", "F6_E2M3", "[4]", 0, 3) + "," + entry_text("odd", "F4", "[4,1]", 3, 5) + "," +
                            entry_text("new", "F7", "[4]", 5, 6) + "," + entry_text("good", "U8", "[2]", 6, 8),
                        8));
  io::SafetensorsFile file(folder / "file");

  CHECK(file.tensor("good").equal(torch::tensor({6, 7}, torch::kUInt8)));
  CHECK_FALSE(file.dtype("six"));
  CHECK(file.dtype_name("six") == "F6_E2M3");
  check_error([&] { file.tensor("six"); },
              {"holds tensor \"six\" with the dtype \"F6_E2M3\" and the shape (4), which LibTorch does not have"});
  check_error([&] { file.tensor("odd"); }, {"tensor \"odd\" with the dtype \"F4\" and the shape (4, 1)"});
  check_error([&] { file.tensor("new"); }, {"tensor \"new\" with the dtype \"F7\""});
  check_error([&] { io::read_safetensors(folder / "file"); }, {"read_safetensors: ", "tensor \"six\" with the dtype"});
}

TEST_CASE("8-bit and packed 4-bit floats are read and written with their bytes and shapes", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "file", file_with_entries(entry_text("F8_E8M0", "F8_E8M0", "[4]", 0, 4) + "," +
                                                    entry_text("F8_E4M3FNUZ", "F8_E4M3FNUZ", "[4]", 4, 8) + "," +
                                                    entry_text("F8_E5M2FNUZ", "F8_E5M2FNUZ", "[4]", 8, 12) + "," +
                                                    entry_text("F4", "F4", "[2,4]", 12, 16),
                                                16));

  const auto read = io::read_safetensors(folder / "file").tensors;

  REQUIRE(read.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(read[i].second.view(torch::kUInt8).flatten().equal(torch::arange(4, torch::kUInt8) + 4 * i));
  }
  CHECK(read[0].second.scalar_type() == torch::kFloat8_e8m0fnu);
  CHECK(read[1].second.scalar_type() == torch::kFloat8_e4m3fnuz);
  CHECK(read[2].second.scalar_type() == torch::kFloat8_e5m2fnuz);
  CHECK(read[3].second.scalar_type() == torch::kFloat4_e2m1fn_x2);
  CHECK(read[3].second.sizes() == torch::IntArrayRef({2, 2}));
  // 2 is the number of F8_E8M0 that means 2^(2 - 127)
  CHECK(read[0].second[2].to(torch::kFloat32).item<float>() == std::ldexp(1.f, 2 - 127));

  auto tensors = read;
  tensors.emplace_back("strided", read[3].second.t());
  io::write_safetensors(folder / "again", tensors);
  io::SafetensorsFile again(folder / "again");
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    CHECK(again.tensor(name).scalar_type() == tensor.scalar_type());
    CHECK(again.tensor(name).view(torch::kUInt8).equal(tensor.view(torch::kUInt8)));
    CHECK(again.dtype_name(name) == (name == "strided" ? "F4" : name));
  }
  check_error([&] { io::write_safetensors(folder / "again", {{"a", read[3].second[0][0]}}); },
              {"\"a\" has no dimension along which"});
  write_file(folder / "file", file_with_entries(entry_text("a", "F4", "[3]", 0, 2), 2));
  check_error([&] { io::SafetensorsFile(folder / "file"); },
              {"tensor \"a\" has 2 bytes of data, expected an even number of elements for \"F4\" of shape (3)"});
  write_file(folder / "file", file_with_entries(entry_text("a", "F4", "[4]", 0, 4), 4));
  check_error([&] { io::SafetensorsFile(folder / "file"); }, {"has 4 bytes of data, expected 2 for \"F4\""});
}

TEST_CASE("metadata may be null", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "file", file_with_entries(R"("__metadata__":null,)" + entry_text("a", "U8", "[1]", 0, 1), 1));
  CHECK(io::read_safetensors(folder / "file").metadata.empty());
  CHECK(io::read_safetensors(folder / "file").tensors.size() == 1);
}
