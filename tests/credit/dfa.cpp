// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/schedule/always.hpp>

#include "../laws/every_rule.hpp"
#include "../models.hpp"
#include "../random_alignment.hpp"
#include "../rules.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

std::vector<torch::Tensor> matrices(const std::vector<std::vector<std::int64_t>>& sizes,
                                    torch::Dtype dtype = torch::kFloat64) {
  torch::manual_seed(77);
  std::vector<torch::Tensor> made;
  for (const auto& size : sizes) made.push_back(torch::randn(size).to(dtype));
  return made;
}

/// What is wrong with a rule's credits as e B_l^T with its own feedback, or "". Width and classes are both 4, so that a
/// feedback matrix the wrong way round fits.
template <class Rule>
std::string is_direct_feedback(const Rule& rule) {
  torch::manual_seed(1);
  auto model = ResidualMLP({.input = 6, .width = 4, .classes = 4, .blocks = 2});
  model->to(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, rule, {}, {}, Raw{});

  const auto credits = trainer.raw_credits(batch.x, batch.y);

  const auto error = plain_error(model->forward(batch.x), batch.y);
  for (std::size_t l = 0; l < credits.size(); ++l) {
    if (distance(credits[l], times_transposed(error, trainer.state().feedback[l])) > 1e-12)
      return "credit " + std::to_string(l);
  }
  return "";
}

template <class Fault>
struct MutatedDFA {
  struct State {
    std::vector<torch::Tensor> feedback;
    std::vector<torch::Tensor> credit(auto&, const Trace& trace) const {
      std::vector<torch::Tensor> credits;
      for (const auto& matrix : feedback) credits.push_back(Fault::of(trace, matrix));
      return credits;
    }
  };
  State bind(auto& model, const BindContext& context) const { return {DFA{}.bind(model, context).feedback}; }
};
struct RightWay {
  static torch::Tensor of(const Trace& trace, const torch::Tensor& matrix) { return trace.error.mm(matrix.t()); }
};
struct WrongSign {
  static torch::Tensor of(const Trace& trace, const torch::Tensor& matrix) { return -trace.error.mm(matrix.t()); }
};
struct Transposed {
  static torch::Tensor of(const Trace& trace, const torch::Tensor& matrix) { return trace.error.mm(matrix); }
};
struct OfMeanLoss {
  static torch::Tensor of(const Trace& trace, const torch::Tensor& matrix) {
    return trace.error.mm(matrix.t()) / trace.error.size(0);
  }
};

/// What a rule's credit has to do with the network's parameters beyond the Trace: nothing (""), or where they show.
template <class Rule>
std::string reads_only_the_trace(Kind kind) {
  auto model = stages(kind);
  const auto batch = batch_for(kind);
  LocalTrainer trainer(model, Captured<Rule>{});
  const auto credits = copies(trainer.raw_credits(batch.x, batch.y));
  auto& state = trainer.state();

  randomise(*model);
  const torch::NoGradGuard no_grad;
  const auto again = state.inner.credit(model, state.traces->at(0));

  for (std::size_t l = 0; l < credits.size(); ++l) {
    if (credits[l].defined() && !torch::equal(credits[l], again[l])) return "credit " + std::to_string(l);
  }
  return "";
}

/// Back-propagation in secret: it looks at the blocks although it says that it does not.
struct SecretBackprop {
  std::vector<torch::Tensor> credit(auto& model, const Trace& trace) const {
    const torch::AutoGradMode grad(true);
    std::vector<torch::Tensor> credits{trace.loss_gradient()};
    for (std::int64_t l = model->blocks(); l-- > 0;) {
      const auto h = trace.hidden[static_cast<std::size_t>(l)].detach().requires_grad_();
      const auto next = model->join(l, h, model->block(l, h));
      credits.insert(credits.begin(), torch::autograd::grad({next}, {h}, {credits.front()})[0]);
    }
    return credits;
  }
};

}  // namespace

TEST_CASE("DFA's credit is the error times the feedback matrix, transposed", "[credit]") {
  CHECK(is_direct_feedback(DFA{}) == "");
  CHECK(is_direct_feedback(DFA{.feedback = matrices({{4, 4}, {4, 4}, {4, 4}})}) == "");
  CHECK(is_direct_feedback(MutatedDFA<RightWay>{}) == "");

  CHECK(is_direct_feedback(MutatedDFA<WrongSign>{}) == "credit 0");
  CHECK(is_direct_feedback(MutatedDFA<Transposed>{}) == "credit 0");
  CHECK(is_direct_feedback(MutatedDFA<OfMeanLoss>{}) == "credit 0");
}

TEST_CASE("DFA uses explicit feedback as it is given, one matrix a hidden state", "[credit]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto batch = batch_for(Kind::plain, torch::kFloat64);
  const auto feedback = matrices({{5, 4}, {5, 4}, {8, 4}, {3, 4}});
  LocalTrainer trainer(model, DFA{.feedback = feedback});

  const auto credits = trainer.raw_credits(batch.x, batch.y);

  const auto error = plain_error(model->forward(batch.x), batch.y);
  REQUIRE(credits.size() == 4);
  for (std::size_t l = 0; l < 4; ++l) CHECK(distance(credits[l], times_transposed(error, feedback[l])) < 1e-12);
}

TEST_CASE("DFA gives every position of a channel one credit, or every element its own", "[credit]") {
  auto model = stages(Kind::conv, torch::kFloat64);
  model->eval();
  const auto batch = batch_for(Kind::conv, torch::kFloat64);
  const auto error = plain_error(model->forward(batch.x), batch.y);

  SECTION("a channel") {
    const auto feedback = matrices({{3, 4}, {5, 4}, {4, 4}});
    LocalTrainer trainer(model, DFA{.feedback = feedback});

    const auto credits = trainer.raw_credits(batch.x, batch.y);

    for (std::size_t l = 0; l < 3; ++l) {
      CHECK(distance(credits[l].flatten(1), times_transposed(error, feedback[l])) < 1e-12);
      CHECK(credits[l].sizes() == torch::IntArrayRef({7, feedback[l].size(0), 1, 1}));
    }
  }
  SECTION("an element") {
    const auto feedback = matrices({{3 * 36, 4}, {5 * 36, 4}, {4 * 9, 4}});
    LocalTrainer trainer(model, DFA{.feedback = feedback, .by_element = true});

    const auto credits = trainer.raw_credits(batch.x, batch.y);

    for (std::size_t l = 0; l < 3; ++l)
      CHECK(distance(credits[l].flatten(1), times_transposed(error, feedback[l])) < 1e-12);
    CHECK(credits[1].sizes() == torch::IntArrayRef({7, 5, 6, 6}));
    CHECK(credits[2].sizes() == torch::IntArrayRef({7, 4, 3, 3}));
  }
  SECTION("channels are last in (B, N, d)") {
    auto tokens = stages(Kind::tokens, torch::kFloat64);
    const auto rows = batch_for(Kind::tokens, torch::kFloat64);
    const auto feedback = matrices({{5, 4}, {5, 4}, {5, 4}});
    LocalTrainer trainer(tokens, DFA{.feedback = feedback});

    const auto credits = trainer.raw_credits(rows.x, rows.y);

    const auto token_error = plain_error(tokens->forward(rows.x), rows.y);
    for (std::size_t l = 0; l < 3; ++l) {
      CHECK(credits[l].sizes() == torch::IntArrayRef({7, 1, 5}));
      CHECK(distance(credits[l].squeeze(1), times_transposed(token_error, feedback[l])) < 1e-12);
    }
  }
}

TEST_CASE("DFA draws N(0, 1) over the square root of the classes, B_0 a copy of B_1", "[credit]") {
  auto model = ResidualMLP({.input = 6, .width = 400, .classes = 10, .blocks = 2});
  LocalTrainer trainer(model, DFA{}, {.seed = 5});
  const auto& feedback = trainer.state().feedback;

  REQUIRE(feedback.size() == 3);
  for (const auto& matrix : feedback) {
    CHECK(matrix.sizes() == torch::IntArrayRef({400, 10}));
    // 4000 draws: the mean within 5 deviations of itself, the variance within 5 of its own, sqrt(2 / 4000).
    CHECK(std::abs(matrix.mean().item<double>()) < 5 * std::sqrt(0.1 / 4000));
    CHECK(std::abs(matrix.square().mean().item<double>() / 0.1 - 1) < 5 * std::sqrt(2.0 / 4000));
    CHECK(std::abs(matrix.pow(4).mean().item<double>() / 0.03 - 1) < 5 * std::sqrt(96.0 / 9 / 4000));
  }
  CHECK(torch::equal(feedback[0], feedback[1]));
  CHECK(feedback[0].data_ptr() != feedback[1].data_ptr());
  CHECK_FALSE(torch::equal(feedback[1], feedback[2]));
}

TEST_CASE("DFA's matrices are the first that the seed's generator gives, in order from h_1", "[credit]") {
  auto model = residual_mlp(torch::kFloat64);
  LocalTrainer trainer(model, DFA{}, {.seed = 5});

  auto generator = torch::make_generator<at::CPUGeneratorImpl>(5);
  for (std::size_t l = 1; l < 4; ++l) {
    const auto drawn =
        at::randn({5, small_classes}, generator, torch::TensorOptions(torch::kFloat32)) / std::sqrt(4.0f);
    CHECK(distance(trainer.state().feedback[l], drawn) < 1e-7);
  }
}

TEST_CASE("DFA draws B_0 for an embed of another size, and none where there is no embed", "[credit]") {
  auto with = SequentialBlocks({.embed = torch::nn::Sequential(torch::nn::Linear(6, 7)),
                                .blocks = {torch::nn::Sequential(torch::nn::Linear(7, 5))},
                                .readout = torch::nn::Sequential(torch::nn::Linear(5, 4)),
                                .example = torch::zeros({1, 6})});
  auto without = stages(Kind::no_embed);
  LocalTrainer first(with, DFA{});
  LocalTrainer second(without, DFA{});

  CHECK(first.state().feedback[0].sizes() == torch::IntArrayRef({7, 4}));
  CHECK_FALSE(second.state().feedback[0].defined());
  CHECK_FALSE(second.credits(batch_for(Kind::no_embed).x, batch_for(Kind::no_embed).y)[0].defined());
  CHECK(second.state().named_tensors().size() == 2);
}

TEST_CASE("explicit feedback is copied, cast, and nothing is drawn for it", "[credit]") {
  const auto batch = small_batch(torch::kFloat64);
  auto given = matrices({{5, 4}, {5, 4}, {5, 4}, {5, 4}}, torch::kFloat32);
  const auto before = copies(given);
  auto model = small_model(torch::kFloat64);
  LocalTrainer trainer(model, DFA{.feedback = given}, {.seed = 1});
  LocalTrainer other(model, DFA{.feedback = given}, {.seed = 2});

  const auto credits = trainer.credits(batch.x, batch.y);
  CHECK(same(credits, other.credits(batch.x, batch.y)));
  CHECK(trainer.state().feedback[2].scalar_type() == torch::kFloat64);

  given[1].zero_();
  CHECK(same(credits, trainer.credits(batch.x, batch.y)));
  trainer.state().feedback[2].zero_();
  CHECK(torch::equal(given[2], before[2]));

  const auto same_dtype = matrices({{5, 4}, {5, 4}, {5, 4}, {5, 4}}, torch::kFloat64);
  LocalTrainer third(model, DFA{.feedback = same_dtype});
  CHECK(third.state().feedback[1].data_ptr() != same_dtype[1].data_ptr());
}

TEST_CASE("feedback that does not fit is refused with what was expected", "[credit]") {
  auto model = stages(Kind::plain);
  const auto message = [&](std::vector<torch::Tensor> feedback, bool by_element = false) {
    return error_of([&] { LocalTrainer(model, DFA{.feedback = feedback, .by_element = by_element}); });
  };
  const auto right = matrices({{5, 4}, {5, 4}, {8, 4}, {3, 4}});
  const auto with = [&](std::size_t l, const torch::Tensor& matrix) {
    auto feedback = right;
    feedback[l] = matrix;
    return feedback;
  };

  CHECK(message(right) == "(nothing was thrown)");
  CHECK(says(message(with(2, torch::zeros({4, 8}))),
             {"DFA: feedback 2 is (4, 8), expected (8, 4)", "one row for each of the 8 features of h_2"}));
  CHECK(says(message(with(0, torch::zeros({5}))), {"DFA: feedback 0 is (5), expected (5, 4)"}));
  CHECK(says(message(with(3, torch::Tensor())), {"DFA: feedback 3 is undefined, expected (3, 4)"}));
  CHECK(says(message(with(1, torch::zeros({5, 4}, torch::kInt64))), {"DFA: feedback 1 is int64", "floating-point"}));
  CHECK(says(message(with(1, torch::zeros({5, 4}).to_sparse())), {"DFA: feedback 1 is sparse", "to_dense()"}));
  CHECK(says(message(with(1, torch::zeros({5, 4}, torch::kMeta))), {"DFA: feedback 1 is on meta", "no numbers"}));
  CHECK(says(message(with(1, torch::full({5, 4}, INFINITY))),
             {"DFA: feedback 1 has numbers that are NaN or infinite in float32", "finite"}));
  CHECK(says(message(with(1, torch::full({5, 4}, 1e300, torch::kFloat64))), {"infinite in float32"}));
  CHECK(says(error_of([&] { LocalTrainer(model, DirectKolenPollack{.feedback = with(2, torch::full({8, 4}, NAN))}); }),
             {"DirectKolenPollack: feedback 2 has numbers that are NaN"}));
  CHECK(says(message({right[0], right[1], right[2]}),
             {"DFA: 3 feedback matrices were given, expected 4", "one for each of h_0..h_L"}));

  auto conv = stages(Kind::conv);
  CHECK(says(error_of([&] { LocalTrainer(conv, DFA{.feedback = matrices({{108, 4}, {180, 4}, {36, 4}})}); }),
             {"DFA: feedback 0 is (108, 4), expected (3, 4)"}));
  CHECK(says(
      error_of([&] { LocalTrainer(conv, DFA{.feedback = matrices({{3, 4}, {5, 4}, {4, 4}}), .by_element = true}); }),
      {"DFA: feedback 0 is (3, 4), expected (108, 4)"}));
  CHECK(error_of([&] {
          LocalTrainer(stages(Kind::no_embed), DFA{.feedback = {{}, torch::zeros({5, 4}), torch::zeros({8, 4})}});
        }) == "(nothing was thrown)");
}

TEMPLATE_TEST_CASE("DFA's credit, and that of other rules of the error alone, has nothing to do with any parameter",
                   "[credit]", DFA, DFAByElement, SignDFA, NormalizedDFA, DRTP, TargetProjection, LearnedProjection) {
  for (const auto kind : {Kind::plain, Kind::batch_norm, Kind::conv, Kind::tokens, Kind::no_embed}) {
    INFO("on " << name(kind));
    CHECK(reads_only_the_trace<TestType>(kind) == "");
  }
}

TEST_CASE("back-propagation in secret is found out", "[credit]") {
  CHECK(reads_only_the_trace<SecretBackprop>(Kind::plain) == "credit 0");
  CHECK(reads_only_the_trace<SecretBackprop>(Kind::conv) == "credit 0");
}

TEST_CASE("DFA reads the error of a Trace and nothing else", "[credit]") {
  auto model = small_model();
  LocalTrainer trainer(model, DFA{});
  Trace trace, other;
  trace.error = other.error = torch::randn({7, small_classes});
  for (int l = 0; l < 4; ++l) {
    trace.hidden.push_back(torch::randn({7, 5}));
    other.hidden.push_back(torch::randn({7, 5}));
  }

  CHECK(same(trainer.state().credit(model, trace), trainer.state().credit(model, other)));
}

TEST_CASE("an error of exactly 0 gives DFA's embed and blocks gradients of exactly 0", "[credit]") {
  auto model = small_model();
  const auto x = small_batch().x;
  const TrainerOptions options{.path = GENERATE(Path::Generic, Path::ClosedForm)};
  LocalTrainer trainer(model, DFA{}, options, {}, {}, {}, SquaredError{});
  const Captured<DFA> captured;
  LocalTrainer watched(model, captured, options, {}, {}, {}, SquaredError{});
  watched.credits(x, torch::zeros({7, small_classes}));
  const auto reached = watched.state().traces->front().logits.clone();

  const auto gradients = trainer.gradients(x, reached), others = trainer.gradients(x, reached + 1);

  for (const auto& gradient : gradients) CHECK(gradient.abs().max().item<double>() == 0);
  for (const auto& gradient : others) CHECK(gradient.abs().max().item<double>() > 0);
}

namespace {

/// A rule that sends `sent` through its matrices.
template <class Rule>
void is_as_far_as_random_matrices(int seeds, const torch::Tensor& sent) {
  const auto gamma = alignment_over_seeds<Rule>(seeds);
  for (std::size_t l = 0; l < gamma.size(); ++l) {
    INFO("h_" << l);
    CHECK(as_of_random_matrices(gamma[l], l, sent) == "");
  }
}

void are_as_far_as_random_matrices(int seeds) {
  const auto& error = alignment_task().error;
  is_as_far_as_random_matrices<DFA>(seeds, error);
  is_as_far_as_random_matrices<SignDFA>(seeds, error.sign());
  is_as_far_as_random_matrices<NormalizedDFA>(seeds, error);
  is_as_far_as_random_matrices<DRTP>(seeds, -torch::one_hot(alignment_task().y, 10).to(error));
  // The same question of a rule that does know the gradient.
  const auto exact = alignment_over_seeds<Oracle>(seeds);
  CHECK(as_of_random_matrices(exact[1], 1) != "");
}

}  // namespace

TEST_CASE("at the start DFA's credit is as far from the true gradient as random matrices are", "[credit]") {
  are_as_far_as_random_matrices(few_seeds);
}

TEST_CASE("at the start DFA's credit is as far from the true gradient as random matrices are, over many seeds",
          "[credit][statistical]") {
  are_as_far_as_random_matrices(many_seeds);
}
