// SPDX-License-Identifier: Apache-2.0
#include <creditlib/testing/report.hpp>

#include "../test.hpp"

using namespace creditlib::testing;

TEST_CASE("a report is ok if some law held and none failed", "[law]") {
  CHECK_FALSE(Report{}.ok());
  CHECK_FALSE(Report{{{"a", "m", not_applicable("no")}}}.ok());
  CHECK(Report{{{"a", "m", not_applicable("no")}, {"b", "m", held()}}}.ok());
  CHECK_FALSE(Report{{{"a", "m", held()}, {"b", "m", failed("wrong")}}}.ok());
}

TEST_CASE("a report's text has failures first, and models that are alike in one line", "[law]") {
  Report report{
      {{"one", "small", held()}, {"two", "small", failed("wrong")}, {"three", "small", not_applicable("because")}}};
  report +=
      {{{"one", "large", held()}, {"two", "large", failed("wrong")}, {"three", "large", not_applicable("because")}}};
  report += {{{"one", "other", not_applicable("so")}, {"two", "other", held()}, {"four", "", held()}}};

  CHECK(report.text() ==
        "of 4 laws 1 failed, 2 held, 1 does not apply\n"
        "FAILED two\n"
        "         on small, large: failed: wrong\n"
        "         on other: held\n"
        "held   one\n"
        "         on small, large: held\n"
        "         on other: does not apply: so\n"
        "held   four\n"
        "-      three\n"
        "         on small, large: does not apply: because\n");
}

TEST_CASE("a report's summary counts in words that fit", "[law]") {
  const auto summary = [](const Report& report) {
    const auto text = report.text();
    return text.substr(0, text.find('\n'));
  };
  CHECK(summary(Report{}) == "no law was asked");
  CHECK(summary({{{"a", "", held()}}}) == "of 1 law 0 failed, 1 held, 0 do not apply");
  CHECK(summary({{{"a", "", not_applicable("no")}, {"b", "", not_applicable("no")}}}) ==
        "of 2 laws 0 failed, 0 held, 2 do not apply");
}
