#include "laws.hpp"

#include "../test.hpp"
#include "every_rule.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Asks a law of a rule on every model that it trains.
template <class Rule, class Law>
void holds(const Law& law) {
  const auto make = factory<Rule>();
  for (const auto kind : every_kind) {
    if (!refusal<Rule>(kind).empty()) continue;
    INFO("on " << name(kind));
    CHECK(law(make, kind) == "");
  }
}

}  // namespace

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
  holds<TestType>(law::same_seed_same_credits);
}

TEMPLATE_LIST_TEST_CASE("another seed gives a rule that draws another credit", "[credit][law]", Rules) {
  if constexpr (draws<TestType>) {
    holds<TestType>(law::other_seed_other_credits);
  } else {
    CHECK(law::other_seed_other_credits(factory<TestType>(), Kind::residual_mlp) != "");
  }
}

TEMPLATE_LIST_TEST_CASE("a trainer leaves torch's global generator alone when it is made", "[credit][law]", Rules) {
  holds<TestType>(law::binding_leaves_global_generator);
}

TEMPLATE_LIST_TEST_CASE("credit is detached and fits the block's output", "[credit][law]", Rules) {
  holds<TestType>(law::credits_fit);
}

TEMPLATE_LIST_TEST_CASE("asking for credits or gradients changes nothing", "[credit][law]", Rules) {
  holds<TestType>(law::previews_change_nothing);
}

TEMPLATE_LIST_TEST_CASE("a step uses the credits that credits() shows", "[credit][law]", Rules) {
  holds<TestType>(law::credits_are_what_step_uses);
}

TEMPLATE_LIST_TEST_CASE("a step is one forward pass", "[credit][law]", Rules) {
  holds<TestType>(law::step_runs_one_forward);
}

TEMPLATE_LIST_TEST_CASE("a step by formula has the gradients of one by autograd", "[credit][law]", Rules) {
  holds<TestType>([](const Factory& make, Kind kind) { return law::paths_agree(make, kind, torch::kFloat64, 1e-11); });
  if (!magnifies_rounding<TestType>) {
    holds<TestType>([](const Factory& make, Kind kind) { return law::paths_agree(make, kind, torch::kFloat32, 1e-5); });
  }
}

TEMPLATE_LIST_TEST_CASE("a float64 model gets the random numbers of a float32 one", "[credit][law]", Rules) {
  holds<TestType>(law::same_feedback_in_float64);
}

TEMPLATE_LIST_TEST_CASE("credit is per sample", "[credit][law]", Rules) { holds<TestType>(law::credit_is_per_sample); }

TEMPLATE_LIST_TEST_CASE("learning alone leaves the model as it was", "[credit][law]", Rules) {
  holds<TestType>(law::learning_leaves_the_model);
}

TEMPLATE_LIST_TEST_CASE("a resumed run is the uninterrupted one, to the bit", "[credit][law]", Rules) {
  holds<TestType>([](const Factory& make, Kind kind) { return law::resumed_run_is_the_same(make, kind); });
  holds<TestType>(
      [](const Factory& make, Kind kind) { return law::resumed_run_is_the_same(make, kind, Optimizer::SGD); });
}

TEMPLATE_LIST_TEST_CASE("normalised credits are the raw ones, each sample divided by its root mean square",
                        "[credit][law]", Rules) {
  for (const auto kind : every_kind) {
    if (!refusal<TestType>(kind).empty()) continue;
    INFO("on " << name(kind));
    const auto batch = batch_for(kind, torch::kFloat64);
    const auto trainer = factory<TestType>()({.kind = kind, .dtype = torch::kFloat64});

    const auto raw = trainer->raw_credits(batch), normalised = trainer->credits(batch);

    for (std::size_t l = 0; l < raw.size(); ++l) {
      if (!raw[l].defined()) continue;
      for (std::int64_t b = 0; b < raw[l].size(0); ++b) {
        const auto a = raw[l][b];
        const double rms = a.norm().template item<double>() / std::sqrt(static_cast<double>(a.numel()));
        CHECK(distance(normalised[l][b] * (rms + 1e-6), a) < 1e-12);
      }
    }
  }
}
