// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <creditlib/io/detail/crc32c.hpp>
#include <creditlib/io/event_file.hpp>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "../small_files.hpp"
#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using creditlib::test::check_error;
using creditlib::test::read_file;
using creditlib::test::SmallFiles;
using creditlib::test::TemporaryFolder;
using creditlib::test::write_file;

namespace {

/// A CRC-32C bit by bit, unlike the library's.
std::uint32_t crc_by_bits(const std::string& bytes) {
  std::uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
  }
  return ~crc;
}

std::uint32_t masked_by_bits(const std::string& bytes) {
  const auto crc = crc_by_bits(bytes);
  return ((crc >> 15U) | (crc << 17U)) + 0xA282EAD8U;
}

template <class Number>
Number number_at(const std::string& bytes, std::size_t place) {
  REQUIRE(place + sizeof(Number) <= bytes.size());
  Number value{};
  std::memcpy(&value, bytes.data() + place, sizeof value);
  return value;
}

/// The messages of a file of records, whose lengths and sums must be right.
std::vector<std::string> records_of(const std::string& bytes) {
  std::vector<std::string> records;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto length = number_at<std::uint64_t>(bytes, at);
    CHECK(number_at<std::uint32_t>(bytes, at + 8) == masked_by_bits(bytes.substr(at, 8)));
    records.push_back(bytes.substr(at + 12, length));
    CHECK(number_at<std::uint32_t>(bytes, at + 12 + length) == masked_by_bits(records.back()));
    at += 16 + length;
  }
  return records;
}

/// What python_events.py says of the folder, or 77 if there is no TensorBoard.
int read_by_tensorboard(const std::filesystem::path& folder) {
  const char* python = std::getenv("CREDITLIB_PYTHON");
  if (python == nullptr || *python == '\0') return 77;
  const auto script = std::filesystem::path(CREDITLIB_TESTS_DIR) / "io" / "python_events.py";
  const auto line = std::string("'") + python + "' '" + script.string() + "' '" + folder.string() + "'";
  return WEXITSTATUS(std::system(line.c_str()));
}

}  // namespace

TEST_CASE("CRC-32C is that of the standard", "[io]") {
  STATIC_REQUIRE(creditlib::detail::crc32c("123456789") == 0xE3069283U);  // the check value of every catalogue of CRCs
  STATIC_REQUIRE(creditlib::detail::crc32c("") == 0U);
  CHECK(creditlib::detail::crc32c(std::string(32, '\0')) == 0x8A9136AAU);  // RFC 3720, B.4
  CHECK(creditlib::detail::crc32c(std::string(32, '\xff')) == 0x62A8AB43U);
}

TEST_CASE("an event file has a record for each call, with right lengths and sums", "[io]") {
  const TemporaryFolder folder;
  io::EventFile events(folder / "new" / "run");
  events.scalar("loss", 0.5, 7);
  events.histogram("weight", torch::arange(10), 300);
  events.flush();

  CHECK(events.path().parent_path() == folder / "new" / "run");
  CHECK(events.path().filename().string().starts_with("events.out.tfevents."));
  const auto records = records_of(read_file(events.path()));
  REQUIRE(records.size() == 3);
  CHECK(records[0].find("brain.Event:2") != std::string::npos);
  CHECK(records[1].find("loss") != std::string::npos);
  CHECK(records[1].find(std::string("\x10\x07", 2)) == 9);      // field 2, a varint: step 7, after the time
  CHECK(records[2].find(std::string("\x10\xac\x02", 3)) == 9);  // step 300 takes two bytes
}

TEST_CASE("TensorBoard reads what was written", "[io]") {
  const TemporaryFolder folder;
  {
    io::EventFile events(folder / "run");
    for (int step = 0; step < 300; ++step) events.scalar("accuracy/test", 0.25 * step, step);
    events.scalar("not finite", std::nan(""), 1);
    events.histogram("tensor", torch::arange(100).to(torch::kFloat16).reshape({10, 10}), 5);
    events.histogram("constant", torch::full({4}, 2.5), 5);
    const double gap = std::numeric_limits<double>::quiet_NaN(), infinite = std::numeric_limits<double>::infinity();
    events.histogram("with gaps", torch::tensor({1.0, gap, 3.0, infinite}), 6);
    events.histogram("nothing", torch::full({3}, NAN), 6);
    io::EventFile more(folder / "run");  // a run that goes on
    CHECK(more.path() != events.path());
    more.scalar("accuracy/test", 100, 300);
  }

  const int said = read_by_tensorboard(folder / "run");

  if (said == 77) {
    SUCCEED("skipped: CREDITLIB_PYTHON names no Python that has tensorboard");
    return;
  }
  CHECK(said == 0);
}

TEST_CASE("a tensor without finite values has no histogram, and wrong ones are refused", "[io]") {
  const TemporaryFolder folder;
  io::EventFile events(folder / "run");
  events.flush();
  const auto before = std::filesystem::file_size(events.path());

  events.histogram("nothing", torch::full({3}, NAN), 1);
  events.histogram("empty", torch::empty({0}), 1);
  events.flush();

  CHECK(std::filesystem::file_size(events.path()) == before);
  check_error([&] { events.histogram("w", torch::Tensor(), 1); }, {"EventFile::histogram: w is an undefined tensor."});
  check_error([&] { events.histogram("w", torch::zeros({2}, torch::kComplexFloat), 1); },
              {"w is complex, expected real numbers"});
  check_error([&] { events.histogram("w", torch::zeros({2}), 1, 0); }, {"buckets is 0, expected a whole number >= 1"});
}

TEST_CASE("a folder that cannot be made, and a full disk, are errors", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "file", "");
  check_error([&] { io::EventFile(folder / "file" / "run"); },
              {(folder / "file" / "run").string(), "cannot be created"});

  io::EventFile events(folder / "run");
  const SmallFiles small(4096);
  for (int step = 0; step < 1000; ++step) events.scalar("loss", 1, step);
  check_error([&] { events.flush(); },
              {events.path().string(), "cannot be written whole (File too large)", "free some space"});
}
