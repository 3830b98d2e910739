// SPDX-License-Identifier: Apache-2.0
#include <creditlib/audit/depth_utility.hpp>
#include <creditlib/audit/gradient_stability.hpp>
#include <creditlib/audit/reference_validity.hpp>
#include <creditlib/audit/scale_growth.hpp>
#include <creditlib/audit/verdict.hpp>
#include <creditlib/diagnostics/gradients.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using audit::Check;
using diagnostics::Measured;

static std::vector<Measured> norms(const std::vector<double>& values) {
  std::vector<Measured> made;
  for (const double value : values) made.push_back({.value = value});
  return made;
}

TEST_CASE("D1 fires above a growth of 50 between neighbouring hidden states", "[audit]") {
  const auto calm = audit::scale_growth(norms({2, 100, 300}));
  const auto wild = audit::scale_growth(norms({2, 4, 201}));

  CHECK(calm.name == "D1");
  CHECK(*calm.value.value == 50);
  CHECK(*calm.fired == false);
  CHECK(*wild.value.value == 50.25);
  CHECK(*wild.fired == true);
  CHECK(*audit::scale_growth(norms({2, 100, 300}), 10).fired == true);
}

TEST_CASE("D1 since init sees the embed grow, and growth by steps below 50", "[audit]") {
  const auto at_init = norms({8, 8, 8});

  const auto embed = audit::scale_growth_since_init(norms({13'000, 13'000, 13'100}), at_init);
  const auto steps = audit::scale_growth_since_init(norms({8, 160, 3200}), at_init);
  const auto calm = audit::scale_growth_since_init(norms({8, 16, 32}), at_init);

  CHECK(*audit::scale_growth(norms({13'000, 13'000, 13'100})).fired == false);
  CHECK(*embed.fired == true);
  CHECK(*embed.value.value == Approx(13'100. / 8));
  CHECK(*audit::scale_growth(norms({8, 160, 3200})).fired == false);
  CHECK(*steps.fired == true);
  CHECK(*calm.fired == false);
}

TEST_CASE("D1 fires where a norm is not finite, and is not measured where there is none to compare with", "[audit]") {
  auto lost = norms({8, 8, 8});
  lost[1] = {.reason = "the norm of a sample is not finite"};

  for (const auto& check : {audit::scale_growth(lost), audit::scale_growth_since_init(lost, norms({8, 8, 8}))}) {
    CHECK(*check.fired == true);
    CHECK_FALSE(check.value.value);
    CHECK(check.value.reason == "the norm of a sample is not finite");
  }
  CHECK_FALSE(audit::scale_growth(norms({8})).fired);
  CHECK_FALSE(audit::scale_growth_since_init(norms({8}), norms({0})).fired);
}

TEST_CASE("D2 is the median gradient of the mean over 128, whatever the batch that it was measured on", "[audit]") {
  auto gradient = torch::zeros({5, 3, 2});
  for (int b = 0; b < 5; ++b) gradient[b][1][1] = 1e-5 * (b + 1);

  const auto below = audit::reference_validity(gradient * 0.4), above = audit::reference_validity(gradient * 0.5);

  CHECK(*below.value.value == Approx(3e-5 * 0.4 / 128));
  CHECK(*below.fired == true);
  CHECK(*above.value.value == Approx(3e-5 * 0.5 / 128));
  CHECK(*above.fired == false);
  CHECK(*audit::reference_validity(gradient * 0.4, 1e-8).fired == false);
  CHECK(*audit::reference_validity(at::cat({gradient, gradient})).value.value == Approx(3e-5 / 128));
  gradient[2].fill_(NAN);
  CHECK(*audit::reference_validity(gradient).fired == true);
  CHECK_FALSE(audit::reference_validity(gradient).value.value);
}

TEST_CASE("D2 agrees with the gradient of the mean loss that the published protocol takes", "[audit]") {
  auto model = small_model();
  const auto batch = batch_for(Kind::residual_mlp, torch::kFloat32, 128);
  const auto hidden = diagnostics::hidden_states(model, batch.x).back().requires_grad_();
  torch::cross_entropy_loss(model->readout(hidden), batch.y).backward();

  const auto check = audit::reference_validity(diagnostics::true_gradients(model, batch.x, batch.y).back());

  CHECK(*check.value.value == Approx(hidden.grad().norm(2, 1).median().item<double>()).epsilon(1e-5));
}

TEST_CASE("D2 without scale does not change when the hidden state grows under a LayerNorm", "[audit]") {
  const auto batch = small_batch();
  const auto checks = [&](double scale) {
    auto model = small_model();
    const torch::NoGradGuard no_grad;
    const auto h = diagnostics::hidden_states(model, batch.x).back() * scale;
    const torch::AutoGradMode grad(true);
    auto leaf = h.clone().requires_grad_();
    const auto g = torch::autograd::grad({CrossEntropy{}.loss(model->readout(leaf), batch.y).sum()}, {leaf})[0];
    return std::pair(audit::reference_validity(g), audit::reference_sensitivity(h, g));
  };
  const auto [small_published, small_ours] = checks(100);
  const auto [large_published, large_ours] = checks(1e8);

  CHECK(*small_published.fired == false);
  CHECK(*large_published.fired == true);
  CHECK(*small_ours.fired == false);
  CHECK(*large_ours.fired == false);
  CHECK(*large_ours.value.value == Approx(*small_ours.value.value).epsilon(0.01));
}

TEST_CASE("D2 without scale is the median of the products of norms", "[audit]") {
  const auto h = torch::tensor({{3., 4.}, {0., 1.}, {6., 8.}}), g = torch::tensor({{1., 0.}, {0., 2.}, {1e-4, 0.}});

  CHECK(*audit::reference_sensitivity(h, g).value.value == Approx(2));
  CHECK(*audit::reference_sensitivity(h, g * 1e-5).fired == true);
  CHECK(*audit::reference_sensitivity(h, g * NAN).fired == true);
}

TEST_CASE("D2 in float64 fires at the hidden state of least agreement, and where gradients are lost", "[audit]") {
  using diagnostics::PrecisionAgreement;
  const PrecisionAgreement good{.cosine = {.value = 0.999}, .lost = {.value = 0}},
      bad{.cosine = {.value = 0.98}, .lost = {.value = 0}};
  const PrecisionAgreement lost{.cosine = {.value = 0.999}, .lost = {.value = 0.02}};
  const PrecisionAgreement none{.cosine = {.reason = "why"}, .lost = {.value = 1}},
      unknown{.cosine = {.reason = "why"}};

  CHECK(*audit::reference_agreement({good, good}).fired == false);
  CHECK(*audit::reference_agreement({good, bad}).fired == true);
  CHECK(*audit::reference_agreement({good, bad}).value.value == 0.98);
  CHECK(*audit::reference_agreement({good, lost}).fired == true);
  CHECK(*audit::reference_agreement({none}).fired == true);
  CHECK_FALSE(audit::reference_agreement({unknown}).fired);
  CHECK(audit::reference_agreement({unknown}).value.reason == "why");
}

TEST_CASE("D3 fails below two points above frozen blocks", "[audit]") {
  const auto published = audit::depth_utility({0.306, 0.302}, {0.349, 0.351, 0.347});

  CHECK(published.name == "D3");
  CHECK(*published.value.value == Approx(-4.5));
  CHECK(*published.fired == true);
  CHECK(*audit::depth_utility({0.401}, {0.349}).fired == false);
  CHECK(*audit::depth_utility({0.36}, {0.349}).fired == true);
  CHECK(*audit::depth_utility({0.36}, {0.349}, 1).fired == false);
  CHECK(says(error_of([] { audit::depth_utility({40.1}, {34.9}); }), {"40.1", "fraction"}));
  CHECK(says(error_of([] { audit::depth_utility({0.4}, {}); }), {"frozen has no accuracies"}));
}

TEST_CASE("D3 against the best takes the best baseline, seed by seed, with Student's interval", "[audit]") {
  const std::vector<audit::Baseline> baselines{{"frozen, embed by DFA", {0.349, 0.352, 0.346}},
                                               {"frozen, embed by back-propagation", {0.372, 0.375, 0.369}},
                                               {"shallow", {0.36, 0.36, 0.36}}};

  const auto found = audit::depth_utility_over_best({0.401, 0.41, 0.392}, baselines);

  CHECK(found.best == "frozen, embed by back-propagation");
  // 2.9, 3.5, 2.3 points: mean 2.9, s .6, t 4.3027
  CHECK(*found.check.value.value == Approx(2.9));
  CHECK(*found.check.fired == false);
  CHECK(found.check.interval->low == Approx(2.9 - 4.302652729749464 * 0.6 / std::sqrt(3.)));
  CHECK(*found.check.decided() == false);
  REQUIRE(found.differences.size() == 3);
  CHECK(found.differences[2].first == "shallow");
  CHECK(*found.differences[0].second.value == Approx(5.2));
  CHECK(*found.differences[2].second.value == Approx(4.1));
  CHECK(*audit::depth_utility_over_best({0.38, 0.38, 0.38}, baselines).check.fired == true);
  CHECK(*audit::depth_utility_over_best({0.601, 0.61, 0.592}, baselines).check.decided() == true);
  CHECK(*audit::depth_utility_over_best({0.301, 0.31, 0.292}, baselines).check.decided() == true);
  CHECK_FALSE(audit::depth_utility_over_best({0.4}, {{"shallow", {0.3}}}).check.decided());
  CHECK(says(error_of([&] { audit::depth_utility_over_best({0.4}, baselines); }),
             {"frozen, embed by DFA has 3", "the rule 1"}));
  CHECK(says(error_of([] { audit::depth_utility_over_best({0.4}, {}); }), {"no baselines"}));
}

TEST_CASE("stability fires above its ceiling of .30", "[audit]") {
  CHECK(*audit::gradient_stability({.value = 0.31}).fired == true);
  CHECK(*audit::gradient_stability({.value = 0.30}).fired == false);
  CHECK_FALSE(audit::gradient_stability({.reason = "few"}).fired);
}

TEST_CASE("the verdict is PASS, or FAIL with the names that fired, and names what was not measured", "[audit]") {
  const Check calm{.name = "D1", .fired = false}, wild{.name = "D2", .fired = true}, also{.name = "D3", .fired = true},
      unknown{.name = "D4"};

  CHECK(audit::verdict({calm}).text() == "PASS");
  CHECK(audit::verdict({calm}).passed);
  CHECK(audit::verdict({calm, wild, also}).text() == "FAIL: D2, D3");
  CHECK_FALSE(audit::verdict({calm, wild}).passed);
  CHECK(audit::verdict({calm, wild}).fired == std::vector<std::string>{"D2"});
  CHECK(audit::verdict({calm, unknown}).text() == "PASS (not measured: D4)");
  CHECK(audit::verdict({unknown, wild}).text() == "FAIL: D2 (not measured: D4)");
}

TEST_CASE("the history knows in which epoch each check fired first", "[audit]") {
  const auto check = [](const char* name, std::optional<bool> fired) { return Check{.name = name, .fired = fired}; };
  audit::FiringHistory history;
  history.record(1, {check("D1", false), check("D2", std::nullopt)});
  history.record(4, {check("D1", false), check("D2", true)});
  history.record(8, {check("D1", true), check("D2", false), check("D3", false)});
  history.record(9, {check("D1", true), check("D2", true), check("D3", false)});

  CHECK(*history.first_fired("D1") == 8);
  CHECK(*history.first_fired("D2") == 4);
  CHECK_FALSE(history.first_fired("D3"));
  CHECK_FALSE(history.first_fired("D4"));
  CHECK(history.names() == std::vector<std::string>{"D1", "D2", "D3"});
  CHECK(history.epochs().size() == 4);
  CHECK(history.epochs()[2].checks.size() == 3);
  CHECK(says(error_of([&] { history.record(9, {}); }), {"epoch 9 after epoch 9"}));
}
