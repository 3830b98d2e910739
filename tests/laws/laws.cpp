// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <creditlib/testing/laws.hpp>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "../test.hpp"
#include "every_rule.hpp"
#include "subjects.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Which models a law applies to under a rule: a letter per model, or a dot.
template <class AboutOn>
std::string applies(const laws::Law& law, const AboutOn& about_on) {
  std::string row;
  for (const auto kind : every_kind) row += law.exemption(about_on(kind)).empty() ? name(kind)[0] : '.';
  return row;
}

const laws::Law& law_named(const std::string& wanted) {
  for (const auto& law : laws::every_law()) {
    if (law.name == wanted) return law;
  }
  throw Error("there is no law \"" + wanted + "\"");
}

/// What a rule says of itself to the laws.
template <class Rule>
LawOptions options_of() {
  return {.draws = draws<Rule>, .per_sample = per_sample<Rule>};
}

/// What laws ought to know of a rule on each model.
using AboutOn = laws::About (*)(Kind);
template <class... EveryRule>
std::vector<AboutOn> about_all(const std::tuple<EveryRule...>*) {
  return {about<EveryRule>...};
}

}  // namespace

TEST_CASE("every law applies to the models of this table, whose rows are laws", "[law]") {
  const auto dfa_that_learns = [](Kind kind) {
    auto known = about<DFA>(kind);
    known.learns = true;
    return known;
  };
  // residual_mlp, plain, batch_norm, dropout, conv, sequence, tokens, no_embed
  const std::map<std::string, std::string> table{
      {"one seed, one credit", "rpbdcstn"},
      {"another seed, another credit", "rpbdcstn"},
      {"bind leaves torch's generator", "rpbdcstn"},
      {"credit fits the output", "rpbdcstn"},
      {"credit is detached", "rpbdcstn"},
      {"previews change nothing", "rpbdcstn"},
      {"credits() is what a step uses", "rpbdcstn"},
      {"a step is one forward pass", "rpbdcstn"},
      {"formula and autograd agree in float64", "rp.....n"},
      {"formula and autograd agree in float32", "rp.....n"},
      {"one state in float32 and float64", "rpbdcstn"},
      {"one credit in float32 and float64", "rpb.cstn"},
      {"a float64 model gets float64 digits", "rpbdcstn"},
      {"credit is per sample", "rp....tn"},
      {"grad mode changes no credit", "rpbdcstn"},
      {"credit alone changes nothing", "rpbdcstn"},
      {"learning leaves the model", "rpbdcstn"},
      {"a resumed run is the same", "rpbdcstn"},
      {"a resumed run with SGD is the same", "rpbdcstn"},
      {"credits are normalized by sample", "rpbdcstn"},
      {"credit is not the true gradient", "rpbdcstn"},
      {"credit reads what it says", "rpbdcstn"},
      {"factored credit reads error and target alone", "rpbdcstn"},
      {"constant memory changes no gradient", "rp.....n"},
      {"a block's credit needs its own states alone", "rpbdcstn"},
      {"a block's learning needs its own states alone", "rpbdcstn"},
  };

  CHECK(table.size() == laws::every_law().size());
  for (const auto& law : laws::every_law()) {
    INFO(law.name);
    REQUIRE(table.count(law.name) == 1);
    CHECK(applies(law, dfa_that_learns) == table.at(law.name));
  }
  // A rule may refuse a model, draw nothing, learn nothing, use the true gradient, or read more than the error.
  CHECK(applies(law_named("credit fits the output"), about<OracleAtBlockInput>) == "r..d..t.");
  CHECK(applies(law_named("credit fits the output"), about<ShortEquilibriumPropagation<true>>) == "rpb.cstn");
  CHECK(applies(law_named("another seed, another credit"), about<Oracle>) == "........");
  CHECK(applies(law_named("learning leaves the model"), about<DFA>) == "........");
  CHECK(applies(law_named("credit is not the true gradient"), about<Oracle>) == "........");
  CHECK(applies(law_named("credit reads what it says"), about<TargetProjection>) == "........");
  CHECK(applies(law_named("factored credit reads error and target alone"), about<FA>) == "........");
  CHECK(applies(law_named("constant memory changes no gradient"), about<FA>) == "........");
  CHECK(applies(law_named("a block's credit needs its own states alone"), about<FA>) == "........");
  CHECK(applies(law_named("a block's learning needs its own states alone"), about<DFA>) == "........");
  CHECK(applies(law_named("a block's learning needs its own states alone"), about<GrAPE>) == "........");
  const auto mixing_on_purpose = [](Kind kind) {
    auto known = about<DFA>(kind);
    known.per_sample = false;
    return known;
  };
  CHECK(applies(law_named("credit is per sample"), mixing_on_purpose) == "........");
  CHECK(applies(law_named("credit is per sample"), about<LocalErrorSignals>) == "........");
  CHECK(applies(law_named("credit is per sample"), about<MonoForward>) == "rp....tn");
}

TEST_CASE("every law is asked of at least so many rules and models", "[law]") {
  const auto rules = about_all(static_cast<const Rules*>(nullptr));
  const auto asked = [&](const laws::Law& law) {
    std::ptrdiff_t number = 0;
    for (const auto& rule : rules) {
      const auto row = applies(law, rule);
      number += std::count_if(row.begin(), row.end(), [](char letter) { return letter != '.'; });
    }
    return number;
  };
  const auto rules_that = [&](bool laws::About::*property) {
    return std::count_if(rules.begin(), rules.end(), [&](AboutOn rule) { return rule(Kind::plain).*property; });
  };

  CHECK(rules.size() >= 19);
  CHECK(rules_that(&laws::About::draws) >= 15);
  CHECK(rules_that(&laws::About::learns) >= 8);
  CHECK(rules_that(&laws::About::true_gradient) >= 3);
  CHECK(rules_that(&laws::About::reads_error_only) >= 2);
  // A new rule adds to these. Of 19 * 7 pairs ten are refused: four of each rule at the block's input, one of each
  // EquilibriumPropagation.
  const std::map<std::string, std::ptrdiff_t> fewer{{"another seed, another credit", 101},
                                                    {"formula and autograd agree in float64", 53},
                                                    {"formula and autograd agree in float32", 53},
                                                    {"one credit in float32 and float64", 106},
                                                    {"credit is per sample", 72},
                                                    {"learning leaves the model", 52},
                                                    {"credit is not the true gradient", 106},
                                                    {"credit reads what it says", 100},
                                                    {"factored credit reads error and target alone", 14},
                                                    {"constant memory changes no gradient", 6},
                                                    {"a block's credit needs its own states alone", 70},
                                                    {"a block's learning needs its own states alone", 30}};
  for (const auto& law : laws::every_law()) {
    INFO(law.name);
    CHECK(asked(law) >= (fewer.count(law.name) ? fewer.at(law.name) : 123));
  }
}

TEST_CASE("a law that does not apply says why, and is not asked", "[law]") {
  const laws::Law never{"never", [](const laws::Subject&) -> Verdict { throw Error("asked"); },
                        [](const laws::About&) -> std::string { return "a reason"; }};

  CHECK(never.of({}) == not_applicable("a reason"));
  CHECK(never.of({.make = {}, .make_batch = {}, .about = about<SmallVecAtBlockInput>(Kind::plain)}) ==
        not_applicable("the rule refuses the model"));
}

TEST_CASE("a law that throws has failed, with the exception's message", "[law]") {
  const laws::Law throws{"throws", [](const laws::Subject&) -> Verdict { throw Error("no such thing"); }};
  const laws::Law out_of_range{"out of range",
                               [](const laws::Subject&) -> Verdict { return std::vector<Verdict>{}.at(1); }};

  CHECK(throws.of({}) == failed("an exception: no such thing"));
  CHECK(out_of_range.of({}).what.find("an exception: std::out_of_range: ") == 0);
}

TEST_CASE("the models that have a closed form are those whose steps are by formula", "[law]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    CHECK(subject_of<DFA>(kind).make({})->path() == (has_closed_form(kind) ? Path::ClosedForm : Path::Generic));
  }
}

TEMPLATE_LIST_TEST_CASE("a rule refuses the models that it cannot train, and says why, and trains all others",
                        "[credit][law]", Rules) {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    const auto expected = refusal<TestType>(kind);

    const auto message = subject_of<TestType>(kind, {}, options_of<TestType>()).about.refusal;

    if (expected.empty()) {
      CHECK(message.empty());
    } else {
      CHECK(says(message, {expected}));
    }
  }
}

TEMPLATE_LIST_TEST_CASE("the laws see what a rule and a model are like", "[credit][law]", Rules) {
  for (const auto kind : every_kind) {
    if (!refusal<TestType>(kind).empty()) continue;
    INFO("on " << name(kind));
    const auto seen = subject_of<TestType>(kind, {}, options_of<TestType>()).about, known = about<TestType>(kind);

    CHECK(seen.draws == known.draws);
    CHECK(seen.learns == known.learns);
    CHECK(seen.true_gradient == known.true_gradient);
    CHECK(seen.per_sample == known.per_sample);
    CHECK(seen.says_what_it_reads == known.says_what_it_reads);
    CHECK(seen.couples_samples == known.couples_samples);
    CHECK(seen.reads_error_only == known.reads_error_only);
    CHECK(seen.block_parallel == known.block_parallel);
    CHECK(seen.embed == known.embed);
    CHECK(seen.by_formula == known.by_formula);
    CHECK(seen.mixes_samples == known.mixes_samples);
    CHECK(seen.draws_masks == known.draws_masks);
  }
}

TEMPLATE_LIST_TEST_CASE("every law holds, or does not apply as the table says, under", "[credit][law]", Rules) {
  const auto report = testing::check_laws(TestType{}, options_of<TestType>());

  CHECK(report.ok());
  CHECK(report.results.size() == every_kind.size() * (1 + laws::every_law().size()));
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    const auto known = about<TestType>(kind);
    CHECK(verdict_in(report, laws::trains_the_model, name(kind)).outcome ==
          (known.refusal.empty() ? Verdict::Held : Verdict::NotApplicable));
    for (const auto& law : laws::every_law()) {
      INFO(law.name);
      const auto verdict = verdict_in(report, law.name, name(kind));
      CAPTURE(verdict);
      CHECK(verdict.outcome == (law.exemption(known).empty() ? Verdict::Held : Verdict::NotApplicable));
    }
  }
}

TEST_CASE("a rule that draws nothing gets no other credit from another seed", "[credit][law]") {
  const auto same_credit = "another seed changes no credit";

  CHECK(says(laws::other_seed_other_credits(subject_of<Oracle>(Kind::residual_mlp)).what, {same_credit}));
  CHECK(says(laws::other_seed_other_credits(subject_of<OracleAtBlockInput>(Kind::residual_mlp)).what, {same_credit}));
  CHECK(says(laws::other_seed_other_credits(subject_of<ShortEquilibriumPropagation<false>>(Kind::residual_mlp)).what,
             {same_credit}));
  CHECK(says(laws::other_seed_other_credits(subject_of<ShortEquilibriumPropagation<true>>(Kind::residual_mlp)).what,
             {same_credit}));
}
