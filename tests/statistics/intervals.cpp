// SPDX-License-Identifier: Apache-2.0
#include <creditlib/statistics/bootstrap.hpp>
#include <creditlib/statistics/confidence.hpp>
#include <creditlib/statistics/permutation.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using namespace creditlib::diagnostics;

TEST_CASE("quantiles are those of the tables", "[statistics]") {
  CHECK(normal_quantile(0.975) == Approx(1.959963984540054).epsilon(1e-12));
  CHECK(normal_quantile(0.5) == Approx(0).margin(1e-12));
  CHECK(normal_quantile(1e-6) == Approx(-4.753424308822899).epsilon(1e-10));
  CHECK(student_quantile(0.95, 1) == Approx(12.706204736174705).epsilon(1e-9));
  CHECK(student_quantile(0.95, 2) == Approx(4.302652729749464).epsilon(1e-9));
  CHECK(student_quantile(0.99, 5) == Approx(4.032142983555228).epsilon(1e-9));
  CHECK(student_quantile(0.95, 19) == Approx(2.093024054408309).epsilon(1e-9));
  CHECK(student_quantile(0.95, 9999) == Approx(1.960201).epsilon(1e-5));
  CHECK(student_quantile(0.95, 1'000'000) == Approx(1.959964).epsilon(1e-5));
  CHECK(says(error_of([] { student_quantile(1, 3); }), {"level is 1"}));
  CHECK(says(error_of([] { student_quantile(0.9, 0); }), {"freedom is 0"}));
}

TEST_CASE("Student's interval of three values is the formula's", "[statistics]") {
  const auto found = student_mean({1, 2, 6});

  // s^2 = 7, t = 4.3027
  CHECK(*found.value == Approx(3));
  CHECK(found.interval->high - 3 == Approx(4.302652729749464 * std::sqrt(7. / 3)));
  CHECK(3 - found.interval->low == Approx(found.interval->high - 3));
  CHECK_FALSE(student_mean({1}).interval);
  CHECK(*student_mean({1}).value == 1);
  CHECK_FALSE(student_mean({}).value);
  CHECK_FALSE(student_mean({1, NAN}).value);
}

TEST_CASE("Fisher's interval is the formula's", "[statistics]") {
  const auto found = fisher_interval(0.5, 28).value();

  CHECK(found.low == Approx(std::tanh(0.5493061443340549 - 1.959963984540054 / 5)));
  CHECK(found.high == Approx(std::tanh(0.5493061443340549 + 1.959963984540054 / 5)));
  CHECK_FALSE(fisher_interval(1, 28));
  CHECK_FALSE(fisher_interval(0.5, 3));
}

TEST_CASE("a bootstrap interval of a mean is the normal one for many values, and holds the mean as often as it says",
          "[statistics]") {
  torch::manual_seed(4);
  const auto many = torch::randn({400}, torch::kFloat64) * 3 + 1;
  const auto found = bootstrap_mean(many, {.resamples = 20'000});
  const double half = 1.96 * many.std(false).item<double>() / 20;
  int held = 0;
  for (int i = 0; i < 400; ++i) {
    held += bootstrap_mean(torch::randn({40}) - 2, {.resamples = 400, .level = 0.8}).interval->contains(-2);
  }

  CHECK(*found.value == Approx(many.mean().item<double>()));
  CHECK(found.interval->low == Approx(*found.value - half).margin(0.03 * half));
  CHECK(found.interval->high == Approx(*found.value + half).margin(0.03 * half));
  CHECK(held / 400. == Approx(0.79).margin(0.08));
}

TEST_CASE(
    "a bootstrap interval is the same for the same seed, another for another, and draws in pieces what it draws at "
    "once",
    "[statistics]") {
  torch::manual_seed(4);
  const auto values = torch::randn({50});
  const auto global = global_generator_state();
  const auto low = [&](const Bootstrap& options) { return bootstrap_mean(values, options).interval->low; };

  CHECK(low({.seed = 1}) == low({.seed = 1}));
  CHECK(low({.seed = 1}) != low({.seed = 2}));
  CHECK(low({.seed = 1}) < low({.level = 0.5, .seed = 1}));
  CHECK(torch::equal(global, global_generator_state()));
  // 500 000 values: two resamples a piece.
  std::int64_t seen = 0;
  bootstrap_interval(500'000, {.resamples = 5}, [&](const torch::Tensor& counts) {
    seen += counts.size(0);
    CHECK(counts.sum(1).eq(500'000).all().item<bool>());
    return counts.mean(1);
  });
  CHECK(seen == 5);
}

TEST_CASE("a bootstrap interval of a ratio keeps the pairs together", "[statistics]") {
  torch::manual_seed(4);
  const auto below = torch::rand({30}, torch::kFloat64) + 0.5;

  const auto exact = bootstrap_ratio(2 * below, below);
  const auto loose = bootstrap_ratio(2 * below.flip(0), below);

  CHECK(*exact.value == Approx(2));
  CHECK(exact.interval->low == Approx(2));
  CHECK(exact.interval->high == Approx(2));
  CHECK(*loose.value == Approx(2));
  CHECK(loose.interval->high - loose.interval->low > 0.1);
  CHECK(says(error_of([&] { bootstrap_ratio(below, below.slice(0, 1)); }), {"30 and 29", "pairs"}));
}

TEST_CASE("there is no bootstrap interval of one value, or of a statistic that is mostly undefined", "[statistics]") {
  CHECK_FALSE(bootstrap_mean(torch::ones({1})).interval);
  CHECK(*bootstrap_mean(torch::ones({1})).value == 1);
  CHECK_FALSE(bootstrap_mean(torch::ones({0})).value);
  const auto undefined = [](double share) {
    return [share](const torch::Tensor& counts) {
      auto values = torch::ones({counts.size(0)}, torch::kFloat64);
      values.slice(0, 0, static_cast<std::int64_t>(share * static_cast<double>(counts.size(0)))).fill_(NAN);
      return values;
    };
  };
  CHECK_FALSE(bootstrap_interval(10, {}, undefined(0.6)));
  CHECK(bootstrap_interval(10, {}, undefined(0.4)));
  CHECK(says(error_of([] { bootstrap_mean(torch::ones({4}), {.resamples = 0}); }), {"resamples is 0"}));
}

TEST_CASE("a sign-flip test of few pairs has the p of all flips counted", "[statistics]") {
  const auto differences = torch::tensor({3., 1., -2., 4., 0.5}, torch::kFloat64);
  int as_large = 0;
  for (int flips = 0; flips < 32; ++flips) {
    double sum = 0;
    for (int i = 0; i < 5; ++i) sum += (flips >> i & 1 ? -1 : 1) * differences[i].item<double>();
    as_large += sum >= 6.5;
  }
  const auto other = torch::tensor({0.1, 7., -3., 2., 11.}, torch::kFloat64);

  const auto p = sign_flip_test(other + differences, other, 3, 40'000);

  CHECK(*p.value == Approx(as_large / 32.).margin(0.01));
  CHECK(*sign_flip_test(other, other + differences, 3, 40'000).value > 0.8);
  CHECK(*sign_flip_test(other, other, 3).value == 1);
}

TEST_CASE("a sign-flip test tells a difference from none, and leaves out pairs without a value", "[statistics]") {
  torch::manual_seed(4);
  const auto a = torch::randn({100}), b = torch::randn({100});
  auto c = a - 1;
  c[3] = NAN;

  CHECK(*sign_flip_test(a, c, 0).value == Approx(1e-4));
  CHECK(*sign_flip_test(a, b, 0).value > 0.01);
  CHECK(*sign_flip_test(a, b, 0).value == *sign_flip_test(a, b, 0).value);
  CHECK(*sign_flip_test(a, b, 0).value != *sign_flip_test(a, b, 1).value);
  CHECK_FALSE(sign_flip_test(a, c * NAN, 0).value);
  CHECK_THROWS_AS(sign_flip_test(a, b.slice(0, 1), 0), Error);
}

TEST_CASE("a rank's p counts the figure itself and ties", "[statistics]") {
  CHECK(rank_p(3, {1, 2, 3, 4}) == Approx(3. / 5));
  CHECK(rank_p(9, {1, 2, 3, 4}) == Approx(1. / 5));
}
