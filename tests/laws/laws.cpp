// SPDX-License-Identifier: Apache-2.0
#include "laws.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "../test.hpp"
#include "every_rule.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Asks a law of a rule on every model: it holds, or does not apply, as the table below says.
template <class Rule>
void holds(const Law& law) {
  const auto make = factory<Rule>();
  const auto rule = about<Rule>();
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    const auto verdict = law.of(make, rule, kind);
    CAPTURE(verdict);
    CHECK(verdict.outcome == (law.exemption(rule, kind).empty() ? Verdict::Held : Verdict::NotApplicable));
  }
}

/// What the laws need to know of each rule.
template <class... EveryRule>
std::vector<About> about_all(const std::tuple<EveryRule...>*) {
  return {about<EveryRule>()...};
}

/// Which models a law applies to under a rule: a letter per model, or a dot.
std::string applies(const Law& law, const About& rule) {
  std::string row;
  for (const auto kind : every_kind) row += law.exemption(rule, kind).empty() ? name(kind)[0] : '.';
  return row;
}

}  // namespace

TEST_CASE("every law applies to the models of this table, whose rows are laws", "[law]") {
  const About rule{.draws = true, .learns = true};
  // residual_mlp, plain, batch_norm, dropout, conv, tokens, no_embed
  const std::map<std::string, std::string> table{
      {"one seed, one credit", "rpbdctn"},
      {"another seed, another credit", "rpbdctn"},
      {"bind leaves torch's generator", "rpbdctn"},
      {"credit fits the output", "rpbdctn"},
      {"previews change nothing", "rpbdctn"},
      {"credits() is what a step uses", "rpbdctn"},
      {"a step is one forward pass", "rpbdctn"},
      {"formula and autograd agree in float64", "rp....n"},
      {"formula and autograd agree in float32", "rp....n"},
      {"one state in float32 and float64", "rpbdctn"},
      {"one credit in float32 and float64", "rpb.ctn"},
      {"credit is per sample", "rp...tn"},
      {"grad mode changes no credit", "rpbdctn"},
      {"credit alone changes nothing", "rpbdctn"},
      {"learning leaves the model", "rpbdctn"},
      {"a resumed run is the same", "rpbdctn"},
      {"a resumed run with SGD is the same", "rpbdctn"},
      {"credits are normalized by sample", "rpbdctn"},
  };

  CHECK(table.size() == every_law.size());
  for (const auto& law : every_law) {
    INFO(law.name);
    REQUIRE(table.count(law.name) == 1);
    CHECK(applies(law, rule) == table.at(law.name));
  }
  // A rule may refuse a model, draw nothing, learn nothing, or leave float32 few digits.
  CHECK(applies(law::fit, {.refusal = refusal<OracleAtBlockInput>}) == "r..d.t.");
  CHECK(applies(law::fit, {.refusal = refusal<ShortEquilibriumPropagation<true>>}) == "rpb.ctn");
  CHECK(applies(law::other_seed, {.draws = false}) == ".......");
  CHECK(applies(law::learning, {.learns = false}) == ".......");
  CHECK(applies(law::two_paths_in_float32, {.magnifies_rounding = true}) == ".......");
  CHECK(applies(law::two_paths, {.magnifies_rounding = true}) == "rp....n");
}

TEST_CASE("so many rules and models is every law asked of", "[law]") {
  const auto rules = about_all(static_cast<const Rules*>(nullptr));
  const auto asked = [&](const Law& law) {
    std::ptrdiff_t number = 0;
    for (const auto& rule : rules) {
      const auto row = applies(law, rule);
      number += std::count_if(row.begin(), row.end(), [](char letter) { return letter != '.'; });
    }
    return number;
  };
  const auto rules_that = [&](bool About::*property) {
    return std::count_if(rules.begin(), rules.end(), [&](const About& rule) { return rule.*property; });
  };

  CHECK(rules.size() == 19);
  CHECK(rules_that(&About::draws) == 15);
  CHECK(rules_that(&About::learns) == 8);
  CHECK(rules_that(&About::magnifies_rounding) == 2);
  // Of 19 * 7 pairs ten are refused: four of each rule at the block's input, one of each EquilibriumPropagation.
  const std::map<std::string, std::ptrdiff_t> fewer{{"another seed, another credit", 101},
                                                    {"formula and autograd agree in float64", 53},
                                                    {"formula and autograd agree in float32", 47},
                                                    {"one credit in float32 and float64", 106},
                                                    {"credit is per sample", 72},
                                                    {"learning leaves the model", 52}};
  for (const auto& law : every_law) {
    INFO(law.name);
    CHECK(asked(law) == (fewer.count(law.name) ? fewer.at(law.name) : 123));
  }
}

TEST_CASE("a law that does not apply says why, and is not asked", "[law]") {
  const Law never{"never", [](const Factory&, Kind) -> Verdict { throw Error("asked"); },
                  [](const About&, Kind) -> std::string { return "a reason"; }};

  CHECK(never.of({}, {}, Kind::plain) == not_applicable("a reason"));
  CHECK(never.of({}, {.refusal = refusal<SmallVecAtBlockInput>}, Kind::plain) ==
        not_applicable("the rule refuses the model"));
}

TEST_CASE("the models that have a closed form are those whose steps are by formula", "[law]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    CHECK(factory<DFA>()({.kind = kind})->path() == (has_closed_form(kind) ? Path::ClosedForm : Path::Generic));
  }
}

TEMPLATE_LIST_TEST_CASE("a rule refuses the models that it cannot train, and says why, and trains all others",
                        "[credit][law]", Rules) {
  const auto make = factory<TestType>();
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    const auto expected = refusal<TestType>(kind);

    const auto message = error_of([&] { make({.kind = kind})->step(batch_for(kind)); });

    if (expected.empty()) {
      CHECK(message == "(nothing was thrown)");
    } else {
      CHECK(says(message, {expected}));
    }
  }
}

TEMPLATE_LIST_TEST_CASE("credit is the same, to the bit, for the same seed", "[credit][law]", Rules) {
  holds<TestType>(law::same_seed);
}

TEMPLATE_LIST_TEST_CASE("another seed gives a rule that draws another credit", "[credit][law]", Rules) {
  holds<TestType>(law::other_seed);
  if (!draws<TestType>) {
    CHECK(law::other_seed.ask(factory<TestType>(), Kind::residual_mlp) == failed("another seed changes no credit"));
  }
}

TEMPLATE_LIST_TEST_CASE("a trainer leaves torch's global generator alone when it is made", "[credit][law]", Rules) {
  holds<TestType>(law::global_generator);
}

TEMPLATE_LIST_TEST_CASE("credit is detached and fits the block's output", "[credit][law]", Rules) {
  holds<TestType>(law::fit);
}

TEMPLATE_LIST_TEST_CASE("asking for credits or gradients changes nothing", "[credit][law]", Rules) {
  holds<TestType>(law::previews);
}

TEMPLATE_LIST_TEST_CASE("a step uses the credits that credits() shows", "[credit][law]", Rules) {
  holds<TestType>(law::used);
}

TEMPLATE_LIST_TEST_CASE("a step is one forward pass", "[credit][law]", Rules) { holds<TestType>(law::one_forward); }

TEMPLATE_LIST_TEST_CASE("a step by formula has the gradients of one by autograd", "[credit][law]", Rules) {
  holds<TestType>(law::two_paths);
  holds<TestType>(law::two_paths_in_float32);
}

TEMPLATE_LIST_TEST_CASE("a float64 model gets the random numbers of a float32 one", "[credit][law]", Rules) {
  holds<TestType>(law::state_in_float64);
  holds<TestType>(law::draws_in_float64);
}

TEMPLATE_LIST_TEST_CASE("credit is per sample", "[credit][law]", Rules) { holds<TestType>(law::per_sample); }

TEMPLATE_LIST_TEST_CASE("credit does not depend on grad mode", "[credit][law]", Rules) {
  holds<TestType>(law::grad_mode);
}

TEMPLATE_LIST_TEST_CASE("credit changes nothing, without a trainer too", "[credit][law]", Rules) {
  holds<TestType>(law::alone);
}

TEMPLATE_LIST_TEST_CASE("learning alone leaves the model as it was", "[credit][law]", Rules) {
  holds<TestType>(law::learning);
}

TEMPLATE_LIST_TEST_CASE("a resumed run is the uninterrupted one, to the bit", "[credit][law]", Rules) {
  holds<TestType>(law::resumed);
  holds<TestType>(law::resumed_with_sgd);
}

TEMPLATE_LIST_TEST_CASE("normalized credits are the raw ones, each sample divided by its root mean square",
                        "[credit][law]", Rules) {
  holds<TestType>(law::normalized);
}
