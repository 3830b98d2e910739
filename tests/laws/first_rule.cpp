// SPDX-License-Identifier: Apache-2.0
#include <creditlib/testing/laws.hpp>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "../../examples/template/my_rule.hpp"
#include "../test.hpp"

using namespace creditlib;

namespace {

/// The mistake that docs/first_rule.md shows: credit divided by the size of the batch.
struct DividedByBatchSize {
  struct State : MyRule::State {
    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      auto credits = MyRule::State::credit(model, trace);
      for (auto& a : credits) a = a / trace.target.size(0);
      return credits;
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {MyRule{}.bind(model, context)};
  }
};

std::string first_rule_page() {
  std::ifstream file(CREDITLIB_TESTS_DIR "/../docs/first_rule.md");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("the rule of docs/first_rule.md obeys as many laws as the page says", "[law]") {
  const auto report = testing::check_laws(MyRule{});
  const auto text = report.text();
  INFO(text);

  CHECK(report.ok());
  CHECK(first_rule_page().find("`" + text.substr(0, text.find('\n')) + "`") != std::string::npos);
}

TEST_CASE("the mistake of docs/first_rule.md gets the report that the page shows", "[law]") {
  const auto report = testing::check_laws(DividedByBatchSize{});
  const auto text = report.text();
  INFO(text);

  CHECK_FALSE(report.ok());
  CHECK(first_rule_page().find("\n```\n" + text.substr(0, text.find("held   ")) + "```\n") != std::string::npos);
}
