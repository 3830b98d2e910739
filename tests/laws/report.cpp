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
        "of 4 laws 1 failed, 2 held, 1 do not apply\n"
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
