// SPDX-License-Identifier: Apache-2.0
#include <clocale>
#include <cmath>
#include <creditlib/data/csv.hpp>
#include <limits>
#include <string>
#include <vector>

#ifdef CREDITLIB_WITH_ZLIB
#include <zlib.h>
#endif

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using namespace creditlib::test;
using data::read_csv;

namespace {

data::Table table_of(const std::string& text, const data::CsvOptions& options = {}) {
  const TemporaryFolder folder;
  write_file(folder / "file.csv", text);
  return read_csv(folder / "file.csv", options);
}

void refuses_csv(const std::string& text, std::initializer_list<std::string> parts,
                 const data::CsvOptions& options = {}) {
  INFO(text);
  check_error([&] { table_of(text, options); }, parts);
  check_error([&] { table_of(text, options); }, {"read_csv: ", "file.csv"});
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a CSV file is its numbers and the names of its columns", "[data]") {
  const auto expected = torch::tensor({{1., -2.5}, {3e-3, 4.}}, torch::kFloat64);
  for (const std::string text :
       {"rooms,price\n1,-2.5\n3e-3,4\n", "rooms,price\n1,-2.5\n3e-3,4", "rooms,price\r\n1,-2.5\r\n3e-3,4\r\n",
        "\xef\xbb\xbfrooms,price\n1,-2.5\n3e-3,4\n\n\n", " rooms ,\tprice\n 1 , -2.5\n3E-3,+4\t\n",
        "\"rooms\",\"price\"\n\"1\", \"-2.5\" \n3e-3,4\n"}) {
    INFO(text);
    const auto table = table_of(text);
    CHECK(table.columns == Names{"rooms", "price"});
    CHECK(table.values.scalar_type() == torch::kFloat64);
    CHECK(torch::equal(table.values, expected));
  }
}

TEST_CASE("the first line of a CSV file names columns if no field is a number, or as it is told", "[data]") {
  const auto plain = table_of("1,2\n3,4\n5,6");
  CHECK(plain.columns == Names{"0", "1"});
  CHECK(torch::equal(plain.values, torch::arange(1., 7., torch::kFloat64).view({3, 2})));

  const auto years = table_of("2019,2020\n3,4", {.header = true});
  CHECK(years.columns == Names{"2019", "2020"});
  CHECK(torch::equal(years.values, torch::tensor({{3., 4.}}, torch::kFloat64)));
  CHECK(table_of(",a\n0,4").columns == Names{"", "a"});
  CHECK(table_of("1,NA\n0,4", {.fill = 7.}).values[0][1].item<double>() == 7);

  refuses_csv("1,x3\n3,4", {"numbers in line 1", "\"x3\"", "CsvOptions::header"});
  refuses_csv("1,x3\n3,4", {"\"x3\" in line 1, column \"1\""}, {.header = false});
}

TEST_CASE("columns may be separated by something else, and quotes protect it in names", "[data]") {
  CHECK(torch::equal(table_of("1;2\n3;4", {.separator = ';'}).values,
                     table_of("1\t2\n3\t4", {.separator = '\t'}).values));
  const auto table = table_of("\"area, in m2\",\"the \"\"best\"\"\"\n1,2");
  CHECK(table.columns == Names{"area, in m2", "the \"best\""});
  CHECK(torch::equal(table.values, torch::tensor({{1., 2.}}, torch::kFloat64)));

  refuses_csv("\"a,b\n1,2", {"a quote in line 1"});
  refuses_csv("a,b\n1,\"2\"3", {"a quote in line 2"});
  refuses_csv("1,2", {"CsvOptions::separator"}, {.separator = '.'});
}

TEST_CASE("a missing value is named by line and column, or filled", "[data]") {
  for (const std::string mark : {"", " ", "NA", "nan", "?", "\"\""}) {
    refuses_csv("a,b\n1,2\n3," + mark + "\n", {"no value in line 3, column \"b\"", "CsvOptions::fill"});
    CHECK(table_of("a,b\n1,2\n3," + mark + "\n5,6", {.fill = -1.}).values[1][1].item<double>() == -1);
  }
  CHECK(
      std::isnan(table_of("a,b\n1,", {.fill = std::numeric_limits<double>::quiet_NaN()}).values[0][1].item<double>()));
  CHECK(table_of("a,b\n1,-999", {.fill = 0., .missing = {"-999"}}).values[0][1].item<double>() == 0);
  refuses_csv("a,b\n1,", {"\"\" in line 2, column \"b\"", "expected a finite number"},
              {.fill = 0., .missing = {"-999"}});
  refuses_csv("1\n\n3", {"no value in line 2, column \"0\""});
}

TEST_CASE("what is not a number is named by line and column", "[data]") {
  for (const std::string text :
       {"red", "1.2.3", "0x10", "1e", "1,5", "inf", "1e999", "12 kg", "--1", "+-1", "1_000", "$5"}) {
    refuses_csv("a,b\n1,2\n\"" + text + "\",4\n", {"has \"" + text + "\" in line 3, column \"a\""});
  }
}

TEST_CASE("lines of different lengths and files without numbers are refused", "[data]") {
  refuses_csv("a,b\n1,2\n3\n", {"has 1 field in line 3, expected 2", "','"});
  refuses_csv("a,b\n1,2,3\n", {"has 3 fields in line 2, expected 2"});
  refuses_csv("a,b\n1,2\n\n3,4\n", {"has 1 field in line 3"});
  refuses_csv("a;b\n1,2", {"has 2 fields in line 2, expected 1"});
  refuses_csv("", {"is empty"});
  refuses_csv("\n\r\n", {"is empty"});
  refuses_csv("a,b\n", {"names of columns alone"});
  refuses_csv(std::string("\xff\xfe\x31\0", 4), {"UTF-16", "UTF-8"});
  check_error([] { read_csv("no/such.csv"); }, {"read_csv", "no/such.csv", "cannot be found"});
}

TEST_CASE("a point is a point in every locale", "[data]") {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  for (const auto* locale : {"de_DE.UTF-8", "fr_FR.UTF-8", "C"}) {
    std::setlocale(LC_ALL, locale);  // where it is installed
    CHECK(table_of("0.5").values.item<double>() == 0.5);
  }
  std::setlocale(LC_ALL, before.c_str());
}

TEST_CASE("numbers are read to the last bit", "[data]") {
  CHECK(table_of("0.1").values.item<double>() == 0.1);
  CHECK(table_of("123456789.123456789").values.item<double>() == 123456789.123456789);
  CHECK(table_of("9007199254740991").values.item<double>() == 9007199254740991.);
  CHECK(table_of("1.7976931348623157e308").values.item<double>() == std::numeric_limits<double>::max());
}

TEST_CASE("columns of a table are taken and left out by name", "[data]") {
  const auto table = table_of("a,b,c,c\n1,2,3,4\n5,6,7,8");

  CHECK(torch::equal(table.only({"b", "a"}).values, torch::tensor({{2., 1.}, {6., 5.}}, torch::kFloat64)));
  CHECK(table.only({"b", "a"}).columns == Names{"b", "a"});
  CHECK(torch::equal(table.without({"b"}).values, torch::tensor({{1., 3., 4.}, {5., 7., 8.}}, torch::kFloat64)));
  CHECK(table.without({"b"}).columns == Names{"a", "c", "c"});
  CHECK(table.index("b") == 1);
  check_error([&] { table.only({"d"}); }, {"0 columns are named \"d\"", "\"a\", \"b\", \"c\", \"c\""});
  check_error([&] { table.without({"c"}); }, {"2 columns are named \"c\""});
}

#ifdef CREDITLIB_WITH_ZLIB
TEST_CASE("a CSV file may be gzip", "[data]") {
  const TemporaryFolder folder;
  const auto path = folder / "file.csv.gz";
  const std::string bytes = "a,b\n1,2\n";
  const auto file = gzopen(path.c_str(), "wb");
  REQUIRE(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())) == static_cast<int>(bytes.size()));
  REQUIRE(gzclose(file) == Z_OK);

  CHECK(torch::equal(read_csv(path).values, torch::tensor({{1., 2.}}, torch::kFloat64)));
}
#endif
