// SPDX-License-Identifier: Apache-2.0
#include <creditlib/io/safetensors.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using creditlib::test::check_error;
using creditlib::test::read_file;
using creditlib::test::TemporaryFolder;
using creditlib::test::write_file;

static const auto here = std::filesystem::path(CREDITLIB_TESTS_DIR) / "io";

static const std::map<std::string, std::string> metadata = {{"made by", "Python"}, {"µ", "naïve \"quoted\"\n"}};

static torch::Tensor counting(torch::Dtype dtype) { return torch::arange(6, torch::kFloat32).view({2, 3}).to(dtype); }

// What python_safetensors.py writes and checks.
static NamedTensors tensors_of_every_dtype() {
  return {{"float64", counting(torch::kFloat64)},
          {"bool", counting(torch::kBool)},
          {"float32", counting(torch::kFloat32)},
          {"float16", counting(torch::kFloat16)},
          {"bfloat16", counting(torch::kBFloat16)},
          {"float8_e5m2", counting(torch::kFloat8_e5m2)},
          {"float8_e4m3fn", counting(torch::kFloat8_e4m3fn)},
          {"complex64", counting(torch::kComplexFloat)},
          {"int64", counting(torch::kInt64)},
          {"int32", counting(torch::kInt32)},
          {"int16", counting(torch::kInt16)},
          {"int8", counting(torch::kInt8)},
          {"uint64", counting(torch::kUInt64)},
          {"uint32", counting(torch::kUInt32)},
          {"uint16", counting(torch::kUInt16)},
          {"uint8", counting(torch::kUInt8)},
          {"empty", torch::zeros({0, 3})},
          {"scalar", torch::tensor(1.5, torch::kFloat64)}};
}

static bool same(const torch::Tensor& a, const torch::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         (a.numel() == 0 || std::memcmp(a.contiguous().data_ptr(), b.contiguous().data_ptr(), a.nbytes()) == 0);
}

static torch::Tensor named(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [known, tensor] : tensors) {
    if (known == name) return tensor;
  }
  return {};
}

// A file of this header and so many bytes of data, all 1.
static std::string file_of(const std::string& header, std::size_t data) {
  const std::uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + std::string(data, '\1');
}

// The exit code of python_safetensors.py, or 77 where there is no Python to run it.
static int run_python(const std::string& command, const std::filesystem::path& file) {
  const char* python = std::getenv("CREDITLIB_PYTHON");
  if (python == nullptr || *python == '\0') return 77;
  const auto line = std::string("'") + python + "' '" + (here / "python_safetensors.py").string() + "' " + command +
                    " '" + file.string() + "'";
  return WEXITSTATUS(std::system(line.c_str()));
}

TEST_CASE("tensors of every dtype come back the same, in their order, with the metadata", "[io]") {
  const TemporaryFolder folder;
  const auto tensors = tensors_of_every_dtype();

  io::write_safetensors(folder / "file", tensors, metadata);
  const auto read = io::read_safetensors(folder / "file");

  CHECK(read.metadata == metadata);
  REQUIRE(read.tensors.size() == tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    INFO(tensors[i].first);
    CHECK(read.tensors[i].first == tensors[i].first);
    CHECK(same(read.tensors[i].second, tensors[i].second));
  }
}

TEST_CASE("a file that Python's package wrote is read", "[io]") {
  const auto read = io::read_safetensors(here / "python.safetensors");

  CHECK(read.metadata == metadata);
  CHECK(read.tensors.size() == tensors_of_every_dtype().size());
  for (const auto& [name, tensor] : tensors_of_every_dtype()) {
    INFO(name);
    REQUIRE(named(read.tensors, name).defined());
    CHECK(same(named(read.tensors, name), tensor));
  }
}

TEST_CASE("what this library writes Python's package reads, and the other way round", "[io]") {
  const TemporaryFolder folder;
  io::write_safetensors(folder / "ours", tensors_of_every_dtype(), metadata);

  const int checked = run_python("check", folder / "ours"), written = run_python("write", folder / "theirs");

  if (checked == 77) {
    SUCCEED("skipped: CREDITLIB_PYTHON names no Python that has safetensors and numpy");
    return;
  }
  CHECK(checked == 0);
  REQUIRE(written == 0);
  const auto read = io::read_safetensors(folder / "theirs");
  CHECK(read.metadata == metadata);
  CHECK(read.tensors.size() >= 15);  // all but what only torch has
  for (const auto& [name, tensor] : read.tensors) {
    INFO(name);
    CHECK(same(tensor, named(tensors_of_every_dtype(), name)));
  }
}

TEST_CASE("the bytes are those of the format: length, header padded to 8, data with the widest dtype first", "[io]") {
  const TemporaryFolder folder;
  const std::string header = R"({"__metadata__":{"k":"v"},"b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]},)"
                             R"("a":{"dtype":"I32","shape":[],"data_offsets":[0,4]}})";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  REQUIRE_FALSE(padding.empty());

  io::write_safetensors(folder / "file",
                        {{"b", torch::ones({3}, torch::kUInt8)}, {"a", torch::tensor(0x01010101, torch::kInt32)}},
                        {{"k", "v"}});

  CHECK(read_file(folder / "file") == file_of(header + padding, 7));
}

TEST_CASE("tensors of any strides and views are written by value", "[io]") {
  const TemporaryFolder folder;
  const auto base = torch::arange(24, torch::kFloat64).view({2, 3, 4});
  const auto complex = torch::complex(torch::arange(3.), torch::arange(3.) + 1);
  const NamedTensors tensors = {{"transposed", base.transpose(0, 2)},
                                {"strided", base.slice(2, 1, 4, 2)},
                                {"expanded", torch::ones({1, 3}).expand({4, 3})},
                                {"gradient", torch::ones({2}).requires_grad_()},
                                {"conjugate", complex.conj()},
                                {"negative", torch::imag(complex.conj())[1]}};

  io::write_safetensors(folder / "file", tensors);
  const auto read = io::read_safetensors(folder / "file").tensors;

  for (std::size_t i = 0; i < tensors.size(); ++i) {
    INFO(tensors[i].first);
    CHECK(torch::equal(read[i].second, tensors[i].second));
    CHECK(read[i].second.is_contiguous());
    CHECK_FALSE(read[i].second.requires_grad());
  }
  CHECK(read[5].second.item<float>() == -2);
}

TEST_CASE("no tensors at all is a file too", "[io]") {
  const TemporaryFolder folder;

  io::write_safetensors(folder / "file", {});

  CHECK(read_file(folder / "file") == file_of("{}      ", 0));
  CHECK(io::read_safetensors(folder / "file").tensors.empty());
}

TEST_CASE("tensors that cannot be written are named before the old file is touched", "[io]") {
  const TemporaryFolder folder;
  const auto file = folder / "file";
  const auto x = torch::ones({2});
  write_file(file, "old");

  check_error([&] { io::write_safetensors(file, {{"a", x}, {"a", x}}); }, {file.string(), "\"a\" is there twice"});
  check_error([&] { io::write_safetensors(file, {{"a", torch::Tensor()}}); }, {file.string(), "\"a\" is undefined"});
  check_error([&] { io::write_safetensors(file, {{"__metadata__", x}}); }, {file.string(), "__metadata__"});
  check_error([&] { io::write_safetensors(file, {{"a", x.to_sparse()}}); }, {file.string(), "\"a\" has no dense data"});
  check_error([&] { io::write_safetensors(file, {{"a", x.to(torch::kMeta)}}); }, {file.string(), "no dense data"});
  check_error([&] { io::write_safetensors(file, {{"a", x.to(torch::kComplexDouble)}}); },
              {file.string(), "complex128"});
  check_error([&] { io::write_safetensors(file, {{"\xff", x}}); }, {file.string(), "UTF-8"});
  check_error([&] { io::write_safetensors(file, {{"a", x}}, {{"k", "\xff"}}); }, {file.string(), "UTF-8"});

  CHECK(read_file(file) == "old");
}

TEST_CASE("a file that is damaged is named, with what is wrong in it", "[io]") {
  const TemporaryFolder folder;
  const auto file = folder / "file";
  const auto refuses = [&](const std::string& bytes, std::initializer_list<std::string> parts) {
    write_file(file, bytes);
    check_error([&] { io::read_safetensors(file); }, {"read_safetensors: \"" + file.string() + "\" "});
    check_error([&] { io::read_safetensors(file); }, parts);
  };
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const auto one = [&](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":)" + entry(dtype, shape, offsets) + "}";
  };
  const auto two = [&](const std::string& first, const std::string& second) {
    return R"({"a":)" + entry("U8", "[4]", first) + R"(,"b":)" + entry("U8", "[4]", second) + "}";
  };
  const std::string good = one("F32", "[2]", "[0,8]");
  write_file(file, file_of(good, 8));
  REQUIRE(io::read_safetensors(file).tensors.size() == 1);

  SECTION("header length") {
    refuses("", {"is 0 bytes", "too short"});
    refuses("1234567", {"is 7 bytes", "too short"});
    refuses(std::string(8, '\0') + "{}", {"header length 0", "expected 2 to 100000000"});
    refuses(std::string(8, '\xff') + "{}", {"header length 18446744073709551615", "expected 2 to 100000000"});
    refuses(file_of(good, 8).substr(0, 20), {"is 20 bytes", "expected at least " + std::to_string(8 + good.size())});
  }
  SECTION("header") {
    refuses(file_of("[1]", 0), {"byte 8", "does not begin with {"});
    refuses(file_of(good.substr(0, good.size() - 1), 8), {"header at byte 8 is not JSON"});
    refuses(file_of("{\"\xff\":1}", 0), {"is not JSON", "UTF-8"});
    refuses(file_of(R"({"a":1e999})", 0), {"is not JSON", "1e999"});
    refuses(file_of(R"({"a":1})", 0), {"tensor \"a\" has no dtype"});
    refuses(file_of(R"({"a":{"dtype":"F32","shape":[]}})", 0), {"tensor \"a\" has no data_offsets"});
    refuses(file_of(R"({"__metadata__":1})", 0), {"__metadata__ is number, expected an object"});
    refuses(file_of(R"({"__metadata__":{"k":1}})", 0), {"\"k\" in __metadata__ is number, expected a string"});
    refuses(file_of(R"({"a":)" + entry("U8", "[4]", "[0,4]") + R"(,"a":)" + entry("U8", "[4]", "[4,8]") + "}", 8),
            {"the name \"a\" is in its header twice"});
    refuses(file_of(R"({"a":{"dtype":"U8","shape":[8],"shape":[8],"data_offsets":[0,8]}})", 8),
            {"the name \"shape\" is in its header twice"});
  }
  SECTION("dtype and shape") {
    refuses(file_of(one("F7", "[2]", "[0,8]"), 8), {"tensor \"a\" with the dtype \"F7\""});
    // Deeply nested JSON must not exhaust the stack.
    const std::size_t depth = 200'000;
    const auto deep = std::string(depth, '[') + std::string(depth, ']');
    refuses(file_of(R"({"a":{"dtype":)" + deep + "}}", 0), {"has the dtype a nested array"});
    refuses(file_of(R"({"a":{"dtype":"F32","shape":)" + deep + "}}", 0), {"has the shape a nested array"});
    refuses(file_of(R"({"a":{"dtype":7,"shape":[],"data_offsets":[0,8]}})", 8), {"tensor \"a\" has the dtype 7"});
    refuses(file_of(one("F32", "[-2]", "[0,8]"), 8), {"shape [-2]", "whole numbers"});
    refuses(file_of(one("F32", "[2.0]", "[0,8]"), 8), {"shape [2.0]", "whole numbers"});
    refuses(file_of(one("F32", "[9223372036854775808]", "[0,8]"), 8), {"9223372036854775808", "2^63 - 1"});
    refuses(file_of(one("F32", "2", "[0,8]"), 8), {"the shape 2, expected"});
    refuses(file_of(one("F32", R"({"n":2})", "[0,8]"), 8), {"shape {\"n\":2}"});
    refuses(file_of(one("F32", "{}", "[0,4]"), 4), {"shape {}, expected an array"});
    refuses(file_of(one("F32", "[3]", "[0,8]"), 8), {"8 bytes of data, expected 12 for \"F32\" of shape (3)"});
    refuses(file_of(one("F32", "[4294967296,4294967296]", "[0,8]"), 8), {"expected over 2^63"});
    refuses(file_of(one("F32", "[4294967296,4294967296,0]", "[0,0]"), 0), {"expected over 2^63"});
    refuses(file_of(one("U8", "[4611686018427387904,4]", "[0,0]"), 0), {"expected over 2^63"});
  }
  SECTION("offsets") {
    refuses(file_of(one("F32", "[2]", "[0,8,9]"), 8), {"has 3 data_offsets, expected 2"});
    refuses(file_of(one("F32", "[2]", "[8,0]"), 8), {"data_offsets 8 to 0"});
    refuses(file_of(one("F32", "[2]", "[0,8]"), 7), {"data_offsets 0 to 8", "the 7 bytes that follow", "truncated"});
    refuses(file_of(two("[0,4]", "[3,7]"), 8), {"\"b\" begins at data byte 3 and overlaps", "ends at 4"});
    refuses(file_of(two("[4,8]", "[4,8]"), 8), {"data bytes 0 to 4, before tensor \"a\", belong to no tensor"});
    refuses(file_of(two("[0,4]", "[5,9]"), 9), {"data bytes 4 to 5, before tensor \"b\""});
    refuses(file_of(good, 9), {"take 8 bytes of data, but 9 follow"});
    refuses(file_of("{}", 1), {"take 0 bytes of data, but 1 follow"});
  }
  SECTION("BOOL") {
    auto bytes = file_of(one("BOOL", "[3]", "[0,3]"), 3);
    bytes.end()[-2] = '\2';
    refuses(bytes, {"byte " + std::to_string(bytes.size() - 2), "BOOL tensor \"a\", is 2, expected 0 or 1"});
  }
  SECTION("no file") {
    check_error([&] { io::read_safetensors(folder / "none"); }, {(folder / "none").string(), "cannot be found"});
    check_error([&] { io::read_safetensors(folder.path()); }, {"not a regular file"});
  }
}

TEST_CASE("every truncation and every change of one byte loads or throws Error, nothing else", "[io]") {
  const TemporaryFolder folder;
  const auto file = folder / "file";
  io::write_safetensors(
      file, {{"w", torch::ones({2, 3})}, {"b", torch::ones({2}, torch::kBool)}, {"n", torch::tensor(7)}}, {{"k", "v"}});
  const auto good = read_file(file);
  int loaded = 0, refused = 0;
  const auto try_reading = [&] {
    try {
      io::read_safetensors(file);
      ++loaded;
    } catch (const Error&) {
      ++refused;
    }
  };

  for (std::size_t length = 0; length < good.size(); ++length) {
    write_file(file, good.substr(0, length));
    try_reading();
  }
  CHECK(refused == static_cast<int>(good.size()));
  CHECK(loaded == 0);

  refused = 0;
  write_file(file, good);
  std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&](std::size_t at, char byte) {
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(byte).flush();
  };
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (int change = 1; change < 256; ++change) {
      put(at, static_cast<char>(good[at] ^ change));
      try_reading();
    }
    put(at, good[at]);
  }
  CHECK(loaded + refused == 255 * static_cast<int>(good.size()));
  CHECK(loaded > 255 * 32);  // any number will do for the 32 bytes of "w" and "n"
  CHECK(refused > loaded);
}
