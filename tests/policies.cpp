#include <creditlib/loss/inner_product.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/schedule/always.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/schedule/warmup.hpp>
#include <creditlib/trainer_options.hpp>
#include <limits>
#include <string>

#include "models.hpp"
#include "sources.hpp"
#include "test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

const std::vector<std::vector<std::int64_t>> shapes{{5, 6}, {5, 4, 6}, {5, 3, 2, 4}};
/// One value a feature, as it broadcasts to the shapes above.
const std::vector<std::vector<std::int64_t>> narrow_shapes{{5, 6}, {5, 1, 6}, {5, 3, 1, 1}};

/// The largest distance of a derivative in each element of f, given and by central differences.
template <class Function>
double from_central_differences(const Function& function, const torch::Tensor& f, const torch::Tensor& derivative) {
  double most = 0;
  auto flat = f.clone();
  const auto elements = flat.view({-1});
  const auto given = derivative.contiguous().view({-1});
  constexpr double step = 1e-5;
  for (std::int64_t i = 0; i < elements.numel(); ++i) {
    const double value = elements[i].template item<double>();
    elements[i] = value + step;
    const double above = function(flat).template item<double>();
    elements[i] = value - step;
    const double below = function(flat).template item<double>();
    elements[i] = value;
    most = std::max(most, std::abs((above - below) / (2 * step) - given[i].template item<double>()));
  }
  return most;
}

double sum_in_plain_numbers(const torch::Tensor& f, const torch::Tensor& a) {
  const auto x = f.contiguous().view({-1}), y = a.expand_as(f).contiguous().view({-1});
  double sum = 0;
  for (std::int64_t i = 0; i < x.numel(); ++i) sum += x[i].item<double>() * y[i].item<double>();
  return sum;
}

}  // namespace

TEST_CASE("RowRms divides each sample by its own root mean square over all other dimensions", "[normalizer]") {
  torch::manual_seed(1);
  for (const auto& shape : shapes) {
    std::vector<std::int64_t> per_sample(shape.size(), 1);
    per_sample[0] = 5;
    const auto a =
        torch::randn(shape, torch::kFloat64) * torch::logspace(-3, 3, 5, 10.0, torch::kFloat64).view(per_sample);
    const auto before = a.clone();

    const auto unit = RowRms{.eps = 0.01}(a);

    CHECK(distance(unit, plain_unit_rms(a, 0.01)) < 1e-14);
    CHECK(unit.sizes() == a.sizes());
    CHECK(torch::equal(a, before));
    CHECK(distance(RowRms{}(a).square().flatten(1).mean(1), torch::ones({5}, torch::kFloat64)) < 1e-2);
  }
}

TEST_CASE("RowRms leaves zero credit at zero, and credit far below eps is scaled by 1/eps", "[normalizer]") {
  CHECK(RowRms{}(torch::zeros({3, 4})).abs().max().item<double>() == 0);
  const auto tiny = torch::full({2, 4}, 1e-12, torch::kFloat64);
  CHECK(distance(RowRms{}(tiny), tiny * 1e6) < 1e-5);
  CHECK(RowRms{}.eps == 1e-6);
}

TEST_CASE("Raw gives credit back as it is", "[normalizer]") {
  const auto a = torch::randn({3, 4});
  CHECK(torch::equal(Raw{}(a), a));
}

TEST_CASE("InnerProduct is the batch mean of the inner product, and its closed form its derivative", "[loss]") {
  torch::manual_seed(2);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    for (const bool mean : {false, true}) {
      const auto f = torch::randn(shapes[i], torch::kFloat64);
      const double positions = i == 0 ? 1 : i == 1 ? 4 : 8;
      for (const auto& shape : {shapes[i], narrow_shapes[i]}) {
        const auto a = torch::randn(shape, torch::kFloat64);
        const InnerProduct loss{.mean_over_positions = mean};

        CHECK(loss(f, a).item<double>() == Approx(sum_in_plain_numbers(f, a) / 5 / (mean ? positions : 1)));
        CHECK(loss(f, a).dim() == 0);
        const auto closed = loss.output_gradient(f, a);
        CHECK(closed.sizes() == f.sizes());
        CHECK(from_central_differences([&](const torch::Tensor& g) { return loss(g, a); }, f, closed) < 1e-9);
      }
    }
  }
}

TEST_CASE("PenalizedInnerProduct adds lambda times the batch mean of the branch's squared norm", "[loss]") {
  torch::manual_seed(3);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    for (const bool mean : {false, true}) {
      const auto f = torch::randn(shapes[i], torch::kFloat64);
      for (const auto& shape : {shapes[i], narrow_shapes[i]}) {
        const auto a = torch::randn(shape, torch::kFloat64);
        const PenalizedInnerProduct loss{.lambda = 0.3, .mean_over_positions = mean};
        const InnerProduct inner{.mean_over_positions = mean};

        const double squared = f.square().sum().item<double>() / 5 / (mean ? (i == 0 ? 1 : i == 1 ? 4 : 8) : 1);
        CHECK(loss(f, a).item<double>() == Approx(inner(f, a).item<double>() + 0.3 * squared));
        const auto closed = loss.output_gradient(f, a);
        CHECK(closed.sizes() == f.sizes());
        CHECK(from_central_differences([&](const torch::Tensor& g) { return loss(g, a); }, f, closed) < 1e-8);
        CHECK(loss.embed_loss().mean_over_positions == mean);
      }
    }
  }
  CHECK(PenalizedInnerProduct{}.lambda == 1e-2);
  for (const double lambda :
       {-0.1, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const PenalizedInnerProduct wrong{.lambda = lambda};
    const auto f = torch::ones({2, 3});
    CHECK(error_of([&] { wrong(f, f); }).find("PenalizedInnerProduct: lambda is ") != std::string::npos);
    CHECK(error_of([&] { wrong.output_gradient(f, f); }).find("expected a finite number >= 0") != std::string::npos);
  }
}

TEST_CASE("the penalised loss of unit credit is least at a branch of the norm that its page says", "[loss]") {
  const auto a = plain_unit_rms(torch::randn({4, 9}, torch::kFloat64), 0);
  const PenalizedInnerProduct loss{.lambda = 0.25};

  const auto least = -a / (2 * 0.25);

  CHECK(loss.output_gradient(least, a).abs().max().item<double>() < 1e-15);
  CHECK(distance(least.norm(2, 1), torch::full({4}, 3 / (2 * 0.25), torch::kFloat64)) < 1e-12);
}

TEST_CASE("cross-entropy is that of each sample, its error the derivative in the logits", "[objective]") {
  torch::manual_seed(4);
  const auto logits = torch::randn({5, 3}, torch::kFloat64) * 3;
  const auto labels = torch::tensor({0, 2, 1, 1, 0});
  const CrossEntropy objective;

  const auto loss = objective.loss(logits, labels);
  REQUIRE(loss.sizes() == torch::IntArrayRef({5}));
  for (std::int64_t b = 0; b < 5; ++b) {
    double sum = 0;
    for (std::int64_t c = 0; c < 3; ++c) sum += std::exp(logits[b][c].item<double>());
    CHECK(loss[b].item<double>() == Approx(std::log(sum) - logits[b][labels[b].item<std::int64_t>()].item<double>()));
  }
  const auto before = logits.clone();
  CHECK(distance(objective.error(logits, labels), plain_error(logits, labels)) < 1e-14);
  CHECK(torch::equal(logits, before));
  CHECK(from_central_differences([&](const torch::Tensor& z) { return objective.loss(z, labels).sum(); }, logits,
                                 objective.error(logits, labels)) < 1e-8);
  CHECK(objective.correct(torch::tensor({{3., 1., 2.}, {0., 5., 1.}, {0., 0., 1.}}), torch::tensor({0, 0, 2}))
            .item<std::int64_t>() == 2);
}

TEST_CASE("cross-entropy takes large logits", "[objective]") {
  const auto logits = torch::tensor({{1000., 0.}, {0., 1000.}}), labels = torch::tensor({0, 0});

  CHECK(torch::equal(CrossEntropy{}.error(logits, labels), torch::tensor({{0., 0.}, {-1., 1.}})));
  CHECK(torch::equal(CrossEntropy{}.loss(logits, labels), torch::tensor({0., 1000.})));
}

TEST_CASE("cross-entropy refuses labels that do not fit, and says what they are", "[objective]") {
  const auto logits = torch::zeros({3, 4});
  const auto message = [&](const torch::Tensor& target) {
    return error_of([&] { CrossEntropy{}.check(logits, target); });
  };

  CHECK(message(torch::tensor({0, 3, 1})) == "(nothing was thrown)");
  CHECK(says(message(torch::tensor({0, 4, 1})), {"label is 4", "expected 0..3"}));
  CHECK(says(message(torch::tensor({0, -1, 1})), {"label is -1", "expected 0..3"}));
  CHECK(says(message(torch::tensor({0, 1})), {"(2)", "expected (3)"}));
  CHECK(says(message(torch::tensor({{0}, {1}, {2}})), {"(3, 1)", "expected (3)"}));
  CHECK(says(message(torch::tensor({0, 1, 2}).to(torch::kInt32)), {"int32", "expected (3) int64"}));
  CHECK(says(message(torch::tensor({0., 1., 2.})), {"float32", "expected (3) int64"}));
  CHECK(says(message(torch::Tensor()), {"undefined"}));
  CHECK(says(message(torch::zeros({3}, torch::TensorOptions(torch::kInt64).device(torch::kMeta))),
             {"on meta", "on cpu"}));
}

TEST_CASE("squared error is half the squared distance, its error the difference", "[objective]") {
  torch::manual_seed(5);
  const auto logits = torch::randn({5, 3}, torch::kFloat64), target = torch::randn({5, 3}, torch::kFloat64);
  const SquaredError objective;

  for (std::int64_t b = 0; b < 5; ++b) {
    const double norm = (logits[b] - target[b]).norm().item<double>();
    CHECK(objective.loss(logits, target)[b].item<double>() == Approx(norm * norm / 2));
  }
  CHECK(from_central_differences([&](const torch::Tensor& z) { return objective.loss(z, target).sum(); }, logits,
                                 objective.error(logits, target)) < 1e-8);
  CHECK(error_of([&] { objective.check(logits, target); }) == "(nothing was thrown)");
  CHECK(says(error_of([&] { objective.check(logits, target.to(torch::kFloat32)); }),
             {"SquaredError", "float32", "float64"}));
  CHECK(says(error_of([&] { objective.check(logits, target.narrow(1, 0, 2)); }), {"(5, 2)", "expected (5, 3)"}));
  CHECK(says(error_of([&] { objective.check(logits, torch::Tensor()); }), {"undefined"}));
}

TEST_CASE("schedules weigh the sources epoch by epoch", "[schedule]") {
  const auto at = [](std::int64_t epoch) { return Progress{.epoch = epoch, .epochs = 20, .step = 100 * epoch}; };
  using Two = std::array<double, 2>;
  using Learn = std::array<bool, 2>;

  SECTION("Always") { CHECK(Always{}.weights(at(5)) == std::array{1.0}); }
  SECTION("SwitchAt") {
    const SwitchAt schedule{.epoch = 3, .lead = 2};
    CHECK(schedule.weights(at(0)) == Two{1, 0});
    CHECK(schedule.weights(at(2)) == Two{1, 0});
    CHECK(schedule.weights(at(3)) == Two{0, 1});
    CHECK(schedule.weights(at(19)) == Two{0, 1});
    CHECK(schedule.learns(at(0)) == Learn{true, false});
    CHECK(schedule.learns(at(1)) == Learn{true, true});
    CHECK(schedule.learns(at(3)) == Learn{false, true});
    CHECK(SwitchAt{}.weights(at(0)) == Two{0, 1});
    CHECK_THROWS_AS((SwitchAt{.epoch = 3, .lead = -1}.weights(at(0))), Error);
    CHECK(SwitchAt{.epoch = 3}.learns(at(2)) == Learn{true, false});
  }
  SECTION("Blend") {
    CHECK(Blend{.alpha = 0.25}.weights(at(7)) == Two{0.75, 0.25});
    CHECK(Blend{}.weights(at(7)) == Two{0.5, 0.5});
  }
  SECTION("Warmup") {
    const Warmup schedule{.epochs = 4, .ramp = 5};
    const std::vector<double> second{0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1};
    for (std::int64_t epoch = 0; epoch < 10; ++epoch) {
      const auto weights = schedule.weights(at(epoch));
      CHECK(weights[1] == Approx(second[static_cast<std::size_t>(epoch)]));
      CHECK(weights[0] + weights[1] == Approx(1));
      CHECK(schedule.learns(at(epoch)) == Learn{true, true});
    }
    CHECK(Warmup{.epochs = 0, .ramp = 1}.weights(at(0)) == Two{0, 1});
  }
}

TEST_CASE("trainer options stand in the order and with the defaults that programs rely on", "[options]") {
  const TrainerOptions defaults;
  CHECK(defaults.lr == 1e-3);
  CHECK(defaults.weight_decay == 0.01);
  CHECK_FALSE(defaults.clip_norm.has_value());
  CHECK(defaults.epochs == 100);
  CHECK(defaults.seed == 42);
  CHECK(defaults.optimizer == Optimizer::AdamW);
  CHECK(defaults.rate == Rate::Cosine);

  const TrainerOptions all{.lr = 1,
                           .weight_decay = 2,
                           .clip_norm = 3,
                           .epochs = 4,
                           .seed = 5,
                           .optimizer = Optimizer::SGD,
                           .rate = Rate::Constant};
  CHECK(error_of([&] { all.check(); }) == "(nothing was thrown)");
}

TEST_CASE("trainer options that cannot be meant are refused by name", "[options]") {
  const auto message = [](const TrainerOptions& options) { return error_of([&] { options.check(); }); };

  CHECK(says(message({.lr = -1}), {"lr is -1"}));
  CHECK(says(message({.lr = NAN}), {"lr is nan"}));
  CHECK(says(message({.lr = INFINITY}), {"lr is inf"}));
  CHECK(says(message({.weight_decay = -0.5}), {"weight_decay is -0.5"}));
  CHECK(says(message({.clip_norm = 0.0}), {"clip_norm is 0", "std::nullopt"}));
  CHECK(says(message({.clip_norm = NAN}), {"clip_norm is nan"}));
  CHECK(says(message({.epochs = 0}), {"epochs is 0"}));
}
