#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/diagnostics/feedback_null.hpp>
#include <creditlib/diagnostics/growth.hpp>
#include <creditlib/diagnostics/norm_matched.hpp>
#include <creditlib/diagnostics/parameter_cosine.hpp>
#include <creditlib/diagnostics/precision_agreement.hpp>
#include <creditlib/diagnostics/ridge_control.hpp>
#include <creditlib/diagnostics/stability.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <utility>

#include "../quadratic.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using diagnostics::Measured;

namespace {

torch::Tensor numbers(const std::vector<double>& values) { return torch::tensor(values, torch::kFloat64); }

/// A network of three parameters in an order that is not that of its parts: readout first, then block, then embed.
struct UnorderedImpl : torch::nn::Module {
  UnorderedImpl() {
    out = register_parameter("out", torch::ones({3, 2}));
    in = register_parameter("in", torch::ones({2, 2}));
    w = register_parameter("w", torch::ones({2, 2}));
  }
  torch::Tensor embed(const torch::Tensor& x) { return x.mm(in); }
  std::int64_t blocks() const { return 1; }
  torch::Tensor block(std::int64_t, const torch::Tensor& h) { return h.mm(w); }
  torch::Tensor join(std::int64_t, const torch::Tensor&, const torch::Tensor& f) { return f; }
  torch::Tensor readout(const torch::Tensor& h) { return h.mm(out.t()); }
  torch::Tensor forward(const torch::Tensor& x) { return readout(block(0, embed(x))); }
  std::int64_t classes() const { return 3; }
  std::vector<std::int64_t> hidden_shape(std::int64_t) const { return {2}; }
  std::vector<torch::Tensor> embed_parameters() const { return {in}; }
  std::vector<torch::Tensor> block_parameters(std::int64_t) const { return {w}; }
  std::vector<torch::Tensor> readout_parameters() const { return {out}; }

  torch::Tensor out, in, w;
};
using Unordered = std::shared_ptr<UnorderedImpl>;

}  // namespace

TEST_CASE("a cosine is exact at any scale and has no value where a side has no direction", "[diagnostics]") {
  CHECK(*diagnostics::cosine(numbers({3, 4}), numbers({4, 3})).value == Approx(24. / 25));
  CHECK(*diagnostics::cosine(numbers({3e-200, 4e-200}), numbers({4e200, -3e200})).value == Approx(0).margin(1e-15));
  CHECK(*diagnostics::cosine(numbers({3e-200, 4e-200}), numbers({-3e200, -4e200})).value == Approx(-1));
  CHECK(*diagnostics::cosine(numbers({1, 2, 3, 4}).view({2, 2}), numbers({1, 2, 3, 4})).value == Approx(1));
  CHECK(diagnostics::cosine(numbers({0, 0}), numbers({1, 1})).reason == "one of the two is 0 or not finite");
  CHECK_FALSE(diagnostics::cosine(numbers({0, 0}), numbers({1, 1})).value);
  CHECK_FALSE(diagnostics::cosine(numbers({INFINITY, 0}), numbers({1, 1})).value);
  CHECK_FALSE(diagnostics::cosine(torch::Tensor(), numbers({1, 1})).value);
  CHECK_FALSE(diagnostics::cosine(numbers({}), numbers({})).value);
  CHECK(says(error_of([] { diagnostics::cosine(numbers({1, 2}), numbers({1})); }), {"(2)", "(1)"}));
}

TEST_CASE("the mean pairwise cosine and the variance of vectors are those of all pairs and of the definition",
          "[diagnostics]") {
  torch::manual_seed(2);
  std::vector<torch::Tensor> vectors;
  for (int i = 0; i < 6; ++i) vectors.push_back(torch::randn({2, 4}, torch::kFloat64) * (i + 1) + 1);
  diagnostics::VectorSpread spread;
  for (const auto& v : vectors) spread.add(v);
  double cosines = 0, variance = 0, squares = 0;
  auto mean = torch::zeros({2, 4}, torch::kFloat64);
  for (const auto& v : vectors) mean += v / 6;
  for (int i = 0; i < 6; ++i) {
    const auto u = vectors[i];
    variance += (u - mean).square().sum().item<double>() / 6;
    squares += u.square().sum().item<double>() / 6;
    for (int j = 0; j < i; ++j) {
      cosines += ((u * vectors[j]).sum() / (u.norm() * vectors[j].norm())).item<double>() / 15;
    }
  }

  CHECK(*spread.mean_pairwise_cosine().value == Approx(cosines).epsilon(1e-12));
  CHECK(*diagnostics::mean_pairwise_cosine(vectors).value == Approx(cosines).epsilon(1e-12));
  CHECK(*spread.variance().value == Approx(variance).epsilon(1e-12));
  CHECK(*spread.relative_variance().value == Approx(variance * 6 / 5 / squares).epsilon(1e-12));
  CHECK(spread.count() == 6);
}

TEST_CASE("vectors without a direction, or too few, have no mean pairwise cosine", "[diagnostics]") {
  diagnostics::VectorSpread spread;
  CHECK_FALSE(spread.mean_pairwise_cosine().value);
  CHECK_FALSE(spread.variance().value);
  spread.add(numbers({1, 1}));
  CHECK_FALSE(spread.mean_pairwise_cosine().value);
  CHECK(*spread.variance().value == 0);
  CHECK_FALSE(spread.relative_variance().value);
  spread.add(numbers({0, 0}));
  CHECK(spread.mean_pairwise_cosine().reason == "a vector is 0 or not finite");
  CHECK(*spread.variance().value == Approx(0.5));
  CHECK(says(error_of([&] { spread.add(numbers({1})); }), {"1 numbers", "one of 2"}));
  spread.add(numbers({NAN, 0}));
  CHECK(spread.variance().reason == "a vector is not finite");
  CHECK_FALSE(spread.relative_variance().value);
}

TEST_CASE("parameter cosines are of each part's own parameters", "[diagnostics]") {
  auto model = std::make_shared<UnorderedImpl>();
  const std::vector<torch::Tensor> rule{numbers({1, 0, 0, 0, 0, 0}).view({3, 2}), numbers({3, 4, 0, 0}).view({2, 2}),
                                        numbers({1, 1, 1, 1}).view({2, 2})};
  const std::vector<torch::Tensor> backprop{numbers({1, 1, 0, 0, 0, 0}).view({3, 2}),
                                            numbers({4, 3, 0, 0}).view({2, 2}), numbers({-2, -2, -2, -2}).view({2, 2})};

  const auto found = diagnostics::parameter_cosine(model, rule, backprop);

  CHECK(*found.readout.value == Approx(std::sqrt(0.5)));
  CHECK(*found.embed.value == Approx(24. / 25));
  REQUIRE(found.blocks.size() == 1);
  CHECK(*found.blocks[0].value == Approx(-1));
  CHECK(*found.all.value == Approx((1 + 24 - 8) / std::sqrt(30. * (2 + 25 + 16))));
}

TEST_CASE("parameter cosines take an undefined gradient for 0, and have no value where there is nothing to compare",
          "[diagnostics]") {
  auto model = std::make_shared<UnorderedImpl>();
  const auto g = torch::ones({2, 2});
  const std::vector<torch::Tensor> rule{torch::Tensor(), torch::Tensor(), g}, backprop{torch::Tensor(), g, g};

  const auto found = diagnostics::parameter_cosine(model, rule, backprop);

  CHECK(found.readout.reason == "there are no gradients here");
  CHECK(found.embed.reason == "one of the two is 0 or not finite");
  CHECK(*found.blocks[0].value == Approx(1));
  CHECK(*found.all.value == Approx(std::sqrt(0.5)));
  CHECK(says(error_of([&] { diagnostics::parameter_cosine(model, rule, {g}); }),
             {"1 parameter gradients", "expected 3"}));
  auto no_embed = stages(Kind::no_embed);
  const auto batch = batch_for(Kind::no_embed);
  const auto own = diagnostics::parameter_gradients(no_embed, batch.x, batch.y);
  CHECK(diagnostics::parameter_cosine(no_embed, own, own).embed.reason == "there are no parameters here");
}

TEST_CASE("the oracle's updates have the parameter cosine 1 with back-propagation's, clipped too, DFA's not",
          "[diagnostics]") {
  for (const auto kind : {Kind::batch_norm, Kind::dropout, Kind::conv, Kind::tokens}) {
    INFO(name(kind));
    auto model = stages(kind);
    const auto batch = batch_for(kind);
    LocalTrainer oracle(model, Oracle{}, {.clip_norm = 0.01}, {}, Raw{});
    LocalTrainer dfa(model, DFA{}, {.seed = 3});
    torch::manual_seed(6);
    const ModuleState before(*model);
    const auto exact = diagnostics::parameter_gradients(model, batch.x, batch.y);

    const auto of_oracle = diagnostics::parameter_cosine(model, oracle.gradients(batch.x, batch.y), exact);
    const auto of_dfa = diagnostics::parameter_cosine(model, dfa.gradients(batch.x, batch.y), exact);

    CHECK(before == ModuleState(*model));
    CHECK(*of_oracle.embed.value > 1 - 1e-5);
    for (const auto& block : of_oracle.blocks) CHECK(*block.value > 1 - 1e-5);
    for (const auto& block : of_dfa.blocks) CHECK(*block.value < 0.95);
    CHECK(*of_oracle.readout.value > 1 - 1e-6);
    CHECK(*of_dfa.readout.value > 1 - 1e-6);
  }
}

TEST_CASE("parameter gradients are those of the mean loss, undefined for frozen parameters", "[diagnostics]") {
  auto net = quadratic();
  net.model->block_parameters(1)[0].requires_grad_(false);

  const auto found = diagnostics::parameter_gradients(net.model, net.x, net.y, SquaredError{});

  const auto e = net.x.mm(net.model->embed_parameters()[0].detach().t()).mm(net.rest[0].t()) - net.y;
  CHECK(distance(found[0], (e.mm(net.rest[0])).t().mm(net.x) / 9) < 1e-13);
  CHECK_FALSE(found[2].defined());
  CHECK_FALSE(net.model->embed_parameters()[0].grad().defined());
}

TEST_CASE("norm-matched gradients have back-propagation's direction and the credit's length, sample by sample",
          "[diagnostics]") {
  torch::manual_seed(2);
  auto a = torch::randn({5, 3, 1, 1}), g = torch::randn({5, 3, 4, 4}) * 1e-20;
  a[1].zero_();
  g[2].zero_();

  const auto found = diagnostics::norm_matched(a, g);

  CHECK(found.sizes() == g.sizes());
  const auto lengths = a.flatten(1).norm(2, 1) * 4;
  for (const int i : {0, 1, 3, 4}) {
    CHECK(found[i].norm().item<double>() == Approx(lengths[i].item<double>()).epsilon(1e-6));
    if (i != 1) CHECK(*diagnostics::cosine(found[i], g[i]).value == Approx(1).epsilon(1e-6));
  }
  CHECK(found[2].abs().sum().item<double>() == 0);
}

TEST_CASE("norm-matched parameter gradients have the rule's norm in each part, or on the whole", "[diagnostics]") {
  auto model = std::make_shared<UnorderedImpl>();
  torch::manual_seed(2);
  const std::vector<torch::Tensor> rule{torch::randn({3, 2}), torch::randn({2, 2}), torch::randn({2, 2})};
  const std::vector<torch::Tensor> backprop{torch::randn({3, 2}), torch::randn({2, 2}), torch::zeros({2, 2})};

  const auto parts = diagnostics::norm_matched(model, rule, backprop);
  const auto whole = diagnostics::norm_matched(model, rule, backprop, diagnostics::Matching::Whole);

  for (const int i : {0, 1}) {
    CHECK(parts[i].norm().item<double>() == Approx(rule[i].norm().item<double>()).epsilon(1e-6));
    CHECK(*diagnostics::cosine(parts[i], backprop[i]).value == Approx(1).epsilon(1e-6));
  }
  CHECK(parts[2].norm().item<double>() == 0);
  const auto norm = [](const std::vector<torch::Tensor>& gradients) {
    return diagnostics::gradient_norm(gradients, {0, 1, 2});
  };
  CHECK(norm(whole) == Approx(norm(rule)).epsilon(1e-6));
  CHECK(whole[0].norm().item<double>() / whole[1].norm().item<double>() ==
        Approx(backprop[0].norm().item<double>() / backprop[1].norm().item<double>()).epsilon(1e-6));
  CHECK_FALSE(diagnostics::norm_matched(model, {rule[0], torch::Tensor(), rule[2]}, backprop)[1].defined());
}

TEST_CASE("a norm-matched step changes a quadratic loss as the matrices say, and is taken back", "[diagnostics]") {
  auto net = quadratic();
  const auto other_x = torch::randn({4, 6}, torch::kFloat64), other_y = torch::randn({4, 3}, torch::kFloat64);
  const auto exact = diagnostics::parameter_gradients(net.model, net.x, net.y, SquaredError{});
  // The embed alone moves.
  const std::vector<torch::Tensor> update{torch::randn_like(exact[0]), {}, {}, {}};
  const auto E = net.model->embed_parameters()[0].detach();
  const auto matched = exact[0] * (update[0].norm() / exact[0].norm());
  const auto change = [&](const torch::Tensor& u) {
    const auto loss = [&](const torch::Tensor& weight) {
      return ((other_x.mm(weight.t()).mm(net.rest[0].t()) - other_y).square().sum() / 8).item<double>();
    };
    return loss(E - 0.01 * u) - loss(E);
  };
  const ModuleState before(*net.model);

  const auto found = diagnostics::norm_matched_step(net.model, update, net.x, net.y, other_x, other_y, 0.01,
                                                    diagnostics::Matching::EachPart, SquaredError{});

  CHECK(*found.rule.value == Approx(change(update[0])).epsilon(1e-9));
  CHECK(*found.backprop.value == Approx(change(matched)).epsilon(1e-9));
  CHECK(before == ModuleState(*net.model));
  const auto itself = diagnostics::norm_matched_step(net.model, exact, net.x, net.y, net.x, net.y, 1e-3,
                                                     diagnostics::Matching::Whole, SquaredError{});
  CHECK(*itself.rule.value < 0);
  CHECK(*itself.ratio.value == Approx(1));
  const auto far = diagnostics::norm_matched_step(net.model, exact, net.x, net.y, net.x, net.y, 1e3,
                                                  diagnostics::Matching::Whole, SquaredError{});
  CHECK(far.ratio.reason == "back-propagation's own step does not lower the loss");
}

TEST_CASE("growth is the quotient of neighbouring norms, or of norms now and at init", "[diagnostics]") {
  const std::vector<Measured> norms{{.value = 2}, {.value = 8}, {.value = 0}, {.value = 4}, {.reason = "why"}};

  const auto between = diagnostics::growth_between(norms);
  const auto since =
      diagnostics::growth_since(norms, {{.value = 1}, {.value = 2}, {.value = 2}, {.value = 0}, {.value = 1}});

  REQUIRE(between.size() == 4);
  CHECK(*between[0].value == 4);
  CHECK(*between[1].value == 0);
  CHECK(between[2].reason == "the norm to compare with is 0");
  CHECK(between[3].reason == "why");
  REQUIRE(since.size() == 5);
  CHECK(*since[0].value == 2);
  CHECK(*since[1].value == 4);
  CHECK_FALSE(since[3].value);
  CHECK(*diagnostics::largest(since).value == 4);
  CHECK(*diagnostics::smallest(since).value == 0);
  CHECK(diagnostics::largest({{.reason = "why"}}).reason == "why");
  CHECK_FALSE(diagnostics::smallest({}).value);
  CHECK(says(error_of([&] { diagnostics::growth_since(norms, {}); }), {"5 norms", "0 at init"}));
}

TEST_CASE("stability is the mean cosine of all pairs of batch-mean gradients at layer L/2", "[diagnostics]") {
  auto net = quadratic();
  std::vector<std::pair<torch::Tensor, torch::Tensor>> batches;
  for (int i = 0; i < 8; ++i) {
    batches.emplace_back(torch::randn({3 + i, 6}, torch::kFloat64), torch::randn({3 + i, 3}, torch::kFloat64) + 1);
  }
  const auto E = net.model->embed_parameters()[0].detach(), A = net.model->block_parameters(0)[0].detach();
  const auto expected = [&](std::size_t l) {
    std::vector<torch::Tensor> means;
    for (const auto& [x, y] : batches) {
      auto h = x.mm(E.t());
      if (l == 1) h = h.mm(A.t());
      means.push_back((h.mm(net.rest[l].t()) - y).mm(net.rest[l]).mean(0));
    }
    double sum = 0;
    for (int i = 0; i < 8; ++i) {
      for (int j = 0; j < i; ++j) sum += (means[i].dot(means[j]) / (means[i].norm() * means[j].norm())).item<double>();
    }
    return sum / 28;
  };

  CHECK(*diagnostics::stability(net.model, batches, {}, SquaredError{}).value == Approx(expected(1)));
  CHECK(*diagnostics::stability(net.model, batches, {.layer = 0}, SquaredError{}).value == Approx(expected(0)));
  batches.pop_back();
  const auto few = diagnostics::stability(net.model, batches, {}, SquaredError{});
  CHECK_FALSE(few.value);
  CHECK(few.reason == "7 batches, and it needs 8");
  CHECK(says(error_of([&] { diagnostics::stability(net.model, batches, {.layer = 3}, SquaredError{}); }),
             {"no h_3", "0..2"}));
}

TEST_CASE("float32 gradients agree with float64 ones where they can, and are lost where float32 has no such numbers",
          "[diagnostics]") {
  auto net = quadratic(torch::kFloat32);
  const ModuleState before(*net.model);

  const auto sound = diagnostics::precision_agreement(net.model, net.x, net.y, SquaredError{});

  CHECK(before == ModuleState(*net.model));
  REQUIRE(sound.size() == 3);
  for (const auto& here : sound) {
    CHECK(*here.cosine.value == Approx(1).epsilon(1e-10));
    CHECK(*here.cosine.value != 1);
    CHECK(*here.lost.value == 0);
  }
  // h_0's gradient is 1e-52 in size, below float32's least number, but for one sample of which it is 1e-12.
  const torch::NoGradGuard no_grad;
  for (auto& parameter : net.model->block_parameters(0)) parameter.mul_(1e-30);
  for (auto& parameter : net.model->block_parameters(1)) parameter.mul_(1e-22);
  net.y[4] *= 1e20;
  net.y[4] *= 1e18;
  const auto tiny = diagnostics::precision_agreement(net.model, net.x, net.y, SquaredError{});
  CHECK(*tiny[0].lost.value == Approx(8. / 9));
  CHECK(*tiny[0].cosine.value > 0.9);
  CHECK(*tiny[2].lost.value == 0);
  net.y.zero_();
  CHECK_FALSE(diagnostics::precision_agreement(net.model, net.x * 0, net.y, SquaredError{})[0].lost.value);
  net.model->to(torch::kFloat64);
  CHECK(
      diagnostics::precision_agreement(net.model, net.x.to(torch::kFloat64), net.y, SquaredError{})[0].cosine.reason ==
      "the model is in float64 itself");
}

TEST_CASE("the ridge control scores 1 where the gradient is linear in the error, at every hidden state",
          "[diagnostics]") {
  auto net = quadratic(torch::kFloat64, 60);
  const auto data = diagnostics::errors_and_gradients(
      net.model,
      std::vector{Batch{net.x.slice(0, 0, 25), net.y.slice(0, 0, 25)}, Batch{net.x.slice(0, 25), net.y.slice(0, 25)}},
      SquaredError{});
  REQUIRE(data.errors.sizes() == torch::IntArrayRef({60, 3}));
  const auto held_out = data.rows(torch::arange(40, 60));

  const auto found = diagnostics::ridge_control(data.rows(torch::arange(40)), held_out);

  REQUIRE(found.size() == 3);
  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(*found[l].gamma.value == Approx(1).epsilon(1e-9));
    CHECK(found[l].regularisation == 1e-8);
    CHECK(distance(found[l].weights, net.rest[l]) < 1e-6);
    CHECK(distance(found[l].credit(held_out.errors, held_out.gradients[l]), held_out.gradients[l]) < 1e-6);
  }
}

TEST_CASE(
    "the ridge control is the regression by its normal equations, its regularisation the best on the validation part",
    "[diagnostics]") {
  torch::manual_seed(12);
  const auto draw = [&](std::int64_t n) {
    diagnostics::ErrorsAndGradients data{torch::randn({n, 8}, torch::kFloat64), {}};
    torch::manual_seed(13);
    const auto W = torch::randn({8, 12}, torch::kFloat64);
    torch::manual_seed(static_cast<std::uint64_t>(n));
    data.gradients.push_back((data.errors.mm(W) + 6 * torch::randn({n, 12}, torch::kFloat64)).view({n, 3, 2, 2}));
    return data;
  };
  const auto training = draw(20), held_out = draw(200);
  const diagnostics::RidgeOptions options{.regularisations = {1e-4, 3e-2, 0.3, 1, 100}, .validation = 0.3, .seed = 5};
  const auto solve = [](const torch::Tensor& e, const torch::Tensor& g, double r) {
    const auto scale = e.square().sum() / e.size(1);
    return at::linalg_inv(e.t().mm(e) + r * scale * torch::eye(8, torch::kFloat64)).mm(e.t()).mm(g.flatten(1));
  };
  const auto gamma = [](const torch::Tensor& a, const torch::Tensor& g) {
    return ((a * g.flatten(1)).sum(1) / (a.norm(2, 1) * g.flatten(1).norm(2, 1))).mean().item<double>();
  };

  const auto found = diagnostics::ridge_control(training, held_out, options)[0];

  const auto order = at::randperm(20, diagnostics::seeded(5), torch::kInt64);
  const auto validation = training.rows(order.slice(0, 0, 6)), fitted = training.rows(order.slice(0, 6));
  double best = -2, chosen = 0, worst = 2;
  for (const double r : options.regularisations) {
    const double value =
        gamma(validation.errors.mm(solve(fitted.errors, fitted.gradients[0], r)), validation.gradients[0]);
    worst = std::min(worst, value);
    if (value > best) best = value, chosen = r;
  }
  REQUIRE(best - worst > 0.02);
  CHECK(found.regularisation == chosen);
  CHECK(distance(found.weights, solve(training.errors, training.gradients[0], chosen)) < 1e-10);
  CHECK(*found.gamma.value == Approx(gamma(held_out.errors.mm(found.weights), held_out.gradients[0])));
  CHECK(found.gamma.interval->contains(*found.gamma.value));
  CHECK(found.credit(held_out.errors, held_out.gradients[0]).sizes() == held_out.gradients[0].sizes());
  // Held-out samples are not fitted to.
  auto other = held_out;
  other.gradients[0] = -other.gradients[0];
  const auto again = diagnostics::ridge_control(training, other, options)[0];
  CHECK(torch::equal(again.weights, found.weights));
  CHECK(*again.gamma.value == Approx(-*found.gamma.value));
}

TEST_CASE(
    "the ridge control scores about 0 where the gradient has nothing to do with the error, and says where it cannot "
    "fit",
    "[diagnostics]") {
  torch::manual_seed(12);
  const auto noise = [](std::int64_t n) {
    return diagnostics::ErrorsAndGradients{torch::randn({n, 4}),
                                           {torch::randn({n, 30}), torch::full({n, 2}, NAN), torch::randn({n, 2})}};
  };
  auto held_out = noise(400);
  held_out.gradients[2].zero_();

  const auto found = diagnostics::ridge_control(noise(400), held_out);

  CHECK(std::abs(*found[0].gamma.value) < 0.04);
  CHECK_FALSE(found[1].gamma.value);
  CHECK(found[1].gamma.reason == "the errors or gradients to fit are 0 or not finite");
  CHECK(found[2].gamma.reason == "the gradient of every held-out sample is 0 or not finite");
  CHECK(says(error_of([&] { diagnostics::ridge_control(noise(1), noise(3)); }), {"1 training samples"}));
  CHECK(says(error_of([&] { diagnostics::ridge_control(noise(9), noise(3), {.regularisations = {0}}); }),
             {"regularisation is 0"}));
  CHECK(
      says(error_of([&] { diagnostics::ridge_control(noise(9), noise(3), {.validation = 1}); }), {"validation is 1"}));
  CHECK(says(error_of([&] {
               diagnostics::ridge_control(noise(9), {torch::ones({3, 4}), {}});
             }),
             {"3 hidden states", "at 0"}));
}

TEST_CASE("errors and gradients are those of each batch, and nothing is changed", "[diagnostics]") {
  auto model = stages(Kind::batch_norm);
  const auto batch = batch_for(Kind::batch_norm);
  const ModuleState before(*model);

  const auto found = diagnostics::errors_and_gradients(model, std::vector{batch, batch});

  CHECK(before == ModuleState(*model));
  const auto gradients = diagnostics::true_gradients(model, batch.x, batch.y);
  REQUIRE(found.gradients.size() == gradients.size());
  for (std::size_t l = 0; l < gradients.size(); ++l) {
    CHECK(torch::equal(found.gradients[l], at::cat({gradients[l], gradients[l]})));
  }
  const auto logits = model->forward(batch.x).detach();
  CHECK(distance(found.errors.slice(0, 7), CrossEntropy{}.error(logits, batch.y)) < 1e-6);
  CHECK_THROWS_AS(diagnostics::errors_and_gradients(model, std::vector<Batch>{}), Error);
}

TEST_CASE("the fresh-feedback null has the mean, deviation, score and rank of its draws", "[diagnostics]") {
  std::vector<std::uint64_t> seeds;
  const auto fresh = [&](std::uint64_t seed) -> std::vector<Measured> {
    seeds.push_back(seed);
    const double i = static_cast<double>(seed - 100);
    return {
        {.value = i}, seed % 2 ? Measured{.reason = "odd"} : Measured{.value = 1}, {.reason = "never"}, {.value = i}};
  };

  const auto found = diagnostics::feedback_null({{.value = 3}, {.value = 1}, {.value = 1}, {.reason = "none"}}, fresh,
                                                {.draws = 5, .seed = 100});

  CHECK(seeds == std::vector<std::uint64_t>{100, 101, 102, 103, 104});
  CHECK(found[0].draws == std::vector<double>{0, 1, 2, 3, 4});
  CHECK(*found[0].own.value == 3);
  CHECK(*found[0].mean.value == Approx(2));
  CHECK(*found[0].deviation.value == Approx(std::sqrt(2.5)));
  CHECK(*found[0].score.value == Approx(1 / std::sqrt(2.5)));
  CHECK(*found[0].p.value == Approx(3. / 6));
  CHECK(found[1].draws.size() == 3);
  CHECK(found[1].score.reason == "the draws do not differ");
  CHECK(*found[1].p.value == 1);
  CHECK(found[2].p.reason == "no draw has a value");
  CHECK(*found[3].mean.value == Approx(2));
  CHECK(found[3].p.reason == "none");
  CHECK(says(error_of([&] { diagnostics::feedback_null({}, fresh); }), {"4 figures", "expected 0"}));
  CHECK(says(error_of([&] { diagnostics::feedback_null({}, fresh, {.draws = 0}); }), {"draws is 0"}));
}

TEST_CASE("at init a DFA's alignment lies within the null of fresh feedback, the oracle's above it", "[diagnostics]") {
  torch::manual_seed(5);
  auto model = ResidualMLP({.input = 20, .width = 40, .classes = 4, .blocks = 2});
  const auto x = torch::randn({32, 20}), y = torch::randint(4, {32});
  const auto gradients = diagnostics::true_gradients(model, x, y);
  const auto credits = [&](std::uint64_t seed) {
    return LocalTrainer(model, DFA{}, {.seed = static_cast<std::int64_t>(seed)}).raw_credits(x, y);
  };

  const auto of_dfa = diagnostics::feedback_null_alignment(credits(1), gradients, credits);
  const auto of_oracle = diagnostics::feedback_null_alignment(gradients, gradients, credits);

  REQUIRE(of_dfa.size() == 3);
  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(of_dfa[l].draws.size() == 20);
    CHECK(std::abs(*of_dfa[l].score.value) < 4);
    CHECK(*of_oracle[l].p.value == Approx(1. / 21));
    CHECK(*of_oracle[l].score.value > 4);
  }
}
