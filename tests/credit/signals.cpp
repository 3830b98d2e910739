// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/drtp.hpp>
#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/binary_cross_entropy.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <functional>

#include "../models.hpp"
#include "../position_nets.hpp"
#include "../sources.hpp"
#include "../test.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"

// What DFA sends down instead of the error, and DRTP.

using namespace creditlib;
using namespace creditlib::test;

namespace {

using Credits = std::vector<torch::Tensor>;

torch::Tensor onehot(const torch::Tensor& labels) { return torch::one_hot(labels, small_classes).to(torch::kFloat64); }

/// The greatest difference of each credit from sent B_l^T, in plain numbers.
double from_projection(const Credits& credits, const torch::Tensor& sent, const Credits& feedback) {
  double most = 0;
  for (std::size_t l = 0; l < credits.size(); ++l)
    most = std::max(most, distance(credits[l], times_transposed(sent, feedback[l])));
  return most;
}

/// A trace of the small model, as a trainer makes it.
Trace small_trace() { return trace_of(small_model(torch::kFloat64), small_batch(torch::kFloat64)); }

Credits credit_of(const DFA& rule, const Trace& trace) {
  auto model = small_model(torch::kFloat64);
  return rule.bind(model, context(torch::kFloat64)).credit(model, trace);
}

/// Whether a change of a trace leaves a rule's credit as it is, to the bit.
bool is_blind(const DFA& rule, const std::function<void(Trace&)>& change) {
  auto trace = small_trace();
  const auto before = credit_of(rule, trace);
  change(trace);
  return same(before, credit_of(rule, trace));
}

}  // namespace

TEST_CASE("with Signal::Sign DFA projects the signs of the error", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, DFA{.signal = Signal::Sign});
  const auto error = plain_error(model->forward(batch.x), batch.y);

  CHECK(from_projection(trainer.raw_credits(batch.x, batch.y), error.sign(), trainer.state().feedback) < 1e-12);

  // A regression: the error is logits - target.
  LocalTrainer regression(model, DFA{.signal = Signal::Sign}, {}, SquaredError{});
  const auto y = torch::randn({7, small_classes}, torch::kFloat64) * 3;
  const auto signs = (model->forward(batch.x).detach() - y).sign();
  CHECK(from_projection(regression.raw_credits(batch.x, y), signs, regression.state().feedback) < 1e-12);
}

TEST_CASE("DRTP's credit is minus the column of the sample's class", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto [x, y] = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, DRTP{});

  const auto credits = trainer.raw_credits(x, y);

  for (std::size_t l = 0; l < credits.size(); ++l) {
    const auto& B = trainer.state().feedback[l];
    for (std::int64_t b = 0; b < 7; ++b) CHECK(credits[l][b].equal(-B.select(1, y[b].item<std::int64_t>())));
  }
}

TEST_CASE("DRTP is DFA with Signal::Target, drawn alike", "[credit]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::tokens, Kind::no_embed}) {
    INFO("on " << name(kind));
    const auto [x, y] = batch_for(kind);
    LocalTrainer drtp(stages(kind), DRTP{});
    LocalTrainer dfa(stages(kind), DFA{.signal = Signal::Target}), error(stages(kind), DFA{});

    CHECK(same(drtp.credits(x, y), dfa.credits(x, y)));
    CHECK(same(copies(drtp.state().feedback), copies(error.state().feedback)));
  }
  LocalTrainer by_element(stages(Kind::conv), DRTP{.by_element = true});
  CHECK(by_element.state().feedback[1].size(0) == 5 * 36);
  CHECK(says(error_of([] { LocalTrainer(stages(Kind::plain), DRTP{.feedback = {torch::zeros({5, 4})}}); }),
             {"DRTP: 1 feedback matrices were given, expected 4"}));
}

// What a signal reads changes the credit, and nothing else does, to the bit.
TEST_CASE("each signal reads what it says, and is blind to the rest", "[credit]") {
  const DFA error{}, sign{.signal = Signal::Sign}, target{.signal = Signal::Target};
  const auto other_logits = [](Trace& t) { t.logits = torch::randn_like(t.logits); };
  const auto other_error = [](Trace& t) { t.error = torch::randn_like(t.error); };
  const auto other_size = [](Trace& t) { t.error = t.error * (1 + torch::rand_like(t.error)); };
  const auto other_sign = [](Trace& t) { t.error = -t.error; };
  const auto other_labels = [](Trace& t) { t.target = (t.target + 1) % small_classes; };
  const auto other_states = [](Trace& t) {
    for (auto& h : t.hidden) h = torch::randn_like(h);
  };

  for (const auto& rule : {error, sign, target}) {
    CHECK(is_blind(rule, other_logits));
    CHECK(is_blind(rule, other_states));
  }
  CHECK_FALSE(is_blind(error, other_size));
  CHECK(is_blind(error, other_labels));
  CHECK(is_blind(sign, other_size));
  CHECK_FALSE(is_blind(sign, other_sign));
  CHECK(is_blind(sign, other_labels));
  CHECK(is_blind(target, other_error));
  CHECK_FALSE(is_blind(target, other_labels));

  const auto trace = small_trace();
  const auto doubled = [&](DFA rule) {
    auto model = small_model(torch::kFloat64);
    rule.feedback = rule.bind(model, context(torch::kFloat64)).feedback;
    const auto before = credit_of(rule, trace);
    for (auto& B : rule.feedback) B = 2 * B;
    const auto after = credit_of(rule, trace);
    return distance(after[1], 2 * before[1]) < 1e-14 && distance(after[1], before[1]) > 0.1;
  };
  CHECK((doubled(error) && doubled(sign) && doubled(target)));
}

TEST_CASE("at logits of 0 DFA's credit is DRTP's, and the mean of the feedback's columns", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const torch::NoGradGuard no_grad;
  for (const auto& parameter : model->readout_parameters()) torch::Tensor(parameter).zero_();
  const auto [x, y] = small_batch(torch::kFloat64);
  LocalTrainer dfa(model, DFA{});
  LocalTrainer drtp(model, DRTP{});
  const auto of_error = dfa.raw_credits(x, y), of_target = drtp.raw_credits(x, y);

  for (std::size_t l = 0; l < of_error.size(); ++l)
    CHECK(distance(of_error[l], of_target[l] + dfa.state().feedback[l].mean(1)) < 1e-14);
}

TEST_CASE("under cross-entropy with labels the signs of the error are those that the label tells", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto [x, y] = small_batch(torch::kFloat64);
  LocalTrainer sign(model, DFA{.signal = Signal::Sign});
  LocalTrainer drtp(model, DRTP{});
  const auto of_sign = sign.raw_credits(x, y), of_target = drtp.raw_credits(x, y);

  for (std::size_t l = 0; l < of_sign.size(); ++l)
    CHECK(distance(of_sign[l], 2 * of_target[l] + sign.state().feedback[l].sum(1)) < 1e-14);
}

TEST_CASE("with `normalized` credit points along DFA's, and has the norm of the error", "[credit]") {
  auto model = ResidualMLP({.input = 6, .width = 40, .classes = 4, .blocks = 2});
  model->to(torch::kFloat64);
  const auto [x, y] = small_batch(torch::kFloat64);
  LocalTrainer normalized(model, DFA{.normalized = true});
  LocalTrainer plain(model, DFA{.feedback = normalized.state().feedback});
  LocalTrainer again(model, DFA{.feedback = normalized.state().feedback, .normalized = true}, {.seed = 8});
  const auto error = plain_error(model->forward(x), y);

  const auto credits = normalized.raw_credits(x, y), along = plain.raw_credits(x, y);

  for (std::size_t l = 0; l < credits.size(); ++l) {
    CHECK(diagnostics::sample_cosines(credits[l], along[l]).min().item<double>() > 1 - 1e-12);
    CHECK(distance(credits[l].norm(2, 1), error.norm(2, 1)) < 1e-12);
    CHECK(distance(along[l].norm(2, 1), error.norm(2, 1)) > 1e-3);
    CHECK(distance(normalized.state().feedback[l].norm(2, 0), torch::ones({4})) < 1e-6);
  }
  CHECK(same(credits, again.raw_credits(x, y)));
  CHECK_FALSE(torch::equal(normalized.state().feedback[1], normalized.state().feedback[2]));
}

TEST_CASE("an error of 0 gives normalized credit of 0", "[credit]") {
  auto model = small_model();
  const auto state = DFA{.normalized = true}.bind(model, context());
  auto trace = trace_of(model, small_batch());
  trace.error = trace.error.clone();
  trace.error[2].zero_();

  const auto credits = state.credit(model, trace);
  const auto factors = state.factored_credit(model, trace);

  for (std::size_t l = 0; l < credits.size(); ++l) {
    CHECK(credits[l][2].abs().max().item<double>() == 0);
    CHECK(credits[l][1].abs().max().item<double>() > 0);
    CHECK(distance(factors[l].dense(), credits[l]) < 1e-6);
  }
}

// ---- Targets of other kinds ----

TEST_CASE("Signal::Target projects a distribution as it is", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto [x, y] = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, DRTP{});
  const auto& B = trainer.state().feedback;
  const auto soft = torch::rand({7, small_classes}, torch::kFloat64).softmax(1);

  CHECK(from_projection(trainer.raw_credits(x, soft), -soft, B) < 1e-12);
  CHECK(same(trainer.raw_credits(x, y), trainer.raw_credits(x, onehot(y))));

  LocalTrainer several(model, DRTP{}, {}, BinaryCrossEntropy{});
  const auto labels = torch::randint(2, {7, small_classes}).to(torch::kFloat64);
  CHECK(from_projection(several.raw_credits(x, labels), -labels, several.state().feedback) < 1e-12);
}

TEST_CASE("Signal::Target gives a sample whose target does not count no credit", "[credit]") {
  auto model = small_model(torch::kFloat64);
  auto [x, y] = small_batch(torch::kFloat64);
  const auto rows_of_zero = [&](const CrossEntropy& objective) {
    LocalTrainer trainer(model, DRTP{}, {}, objective);
    const auto a = trainer.raw_credits(x, y)[1];
    std::vector<std::int64_t> rows;
    for (std::int64_t b = 0; b < 7; ++b) {
      if (a[b].abs().max().item<double>() == 0) rows.push_back(b);
    }
    return rows;
  };
  y = torch::tensor({0, 1, 2, 3, 0, 1, 2}, torch::kInt64);

  CHECK(rows_of_zero({}).empty());
  CHECK(rows_of_zero({.ignore_index = 0}) == std::vector<std::int64_t>{0, 4});  // a class, as padding often is
  CHECK(rows_of_zero({.weight = torch::tensor({1.0, 0.0, 1.0, 1.0}, torch::kFloat64)}) ==
        std::vector<std::int64_t>{1, 5});
  y[3] = -100;
  CHECK(rows_of_zero({}) == std::vector<std::int64_t>{3});

  // A network that is sure of every sample has no error, and the same credit.
  const auto before = small_trace();
  auto sure = before;
  sure.error = torch::zeros_like(sure.error);
  CHECK(same(credit_of({.signal = Signal::Target}, before), credit_of({.signal = Signal::Target}, sure)));
}

TEST_CASE("Signal::Target refuses targets that tell no signs", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto x = small_batch(torch::kFloat64).x;
  LocalTrainer regression(model, DRTP{}, {}, SquaredError{});
  const auto before = copies(model->parameters());
  auto y = torch::full({7, small_classes}, 0.5, torch::kFloat64);
  const auto message = [&] { return error_of([&] { regression.step(x, y); }); };

  CHECK(message() == "(nothing was thrown)");
  const auto after_one = copies(model->parameters());
  CHECK_FALSE(same(before, after_one));
  y[2][1] = 1.25;
  CHECK(says(message(), {"Signal::Target: a target is 1.25, expected 0 to 1", "Signal::Sign or Signal::Error"}));
  y[2][1] = -3;
  CHECK(says(message(), {"Signal::Target: a target is -3, expected 0 to 1"}));
  y[2][1] = NAN;
  CHECK(says(message(), {"nan, expected 0 to 1"}));
  CHECK(same(after_one, copies(model->parameters())));

  auto trace = small_trace();
  trace.target = torch::zeros({7}, torch::kInt32);
  CHECK(says(error_of([&] { credit_of({.signal = Signal::Target}, trace); }),
             {"Signal::Target: the target is (7) int32 on cpu", "class indices, (7) int64", "(7, 4)"}));
  trace.target = torch::zeros({7, 1}, torch::kFloat64);
  CHECK(says(error_of([&] { credit_of({.signal = Signal::Target}, trace); }), {"the target is (7, 1) float64"}));
}

// ---- Positions ----

TEST_CASE("signals are those of each position where hidden states have the logits' positions", "[credit][positions]") {
  torch::manual_seed(2);
  const auto check = [](SequentialBlocks model, const Batch& batch, std::int64_t classes_at) {
    const auto error = CrossEntropy{}.error(model->forward(batch.x), batch.y).detach();
    const auto counts = batch.y.ge(0).unsqueeze(-1);
    const auto labels = (torch::one_hot(batch.y.clamp_min(0), small_classes) * counts).to(torch::kFloat64);
    const auto rows = [&](const torch::Tensor& t) { return t.movedim(classes_at, -1); };
    const auto expected = [&](const torch::Tensor& sent, const torch::Tensor& B) { return sent.matmul(B.t()); };

    LocalTrainer sign(model, DFA{.signal = Signal::Sign}), normalized(model, DFA{.normalized = true});
    LocalTrainer drtp(model, DRTP{});
    const auto of_sign = sign.raw_credits(batch.x, batch.y), of_target = drtp.raw_credits(batch.x, batch.y);
    const auto of_normalized = normalized.raw_credits(batch.x, batch.y);
    for (std::size_t l = 0; l < of_sign.size(); ++l) {
      CHECK(distance(rows(of_sign[l]), expected(rows(error).sign(), sign.state().feedback[l])) < 1e-12);
      CHECK(distance(rows(of_target[l]), expected(-labels, drtp.state().feedback[l])) < 1e-12);
      CHECK(distance(rows(of_normalized[l]).norm(2, -1), rows(error).norm(2, -1)) < 1e-12);
      for (const auto& a : {of_sign[l], of_target[l], of_normalized[l]})
        CHECK((rows(a) * counts.logical_not()).abs().max().item<double>() == 0);
    }
  };
  check(token_net(), token_batch(), 2);
  check(pixel_net(), pixel_batch(), 1);
}

TEST_CASE("signals are summed over positions where hidden states have others", "[credit][positions]") {
  torch::manual_seed(3);
  using namespace torch::nn;
  SequentialBlocks model({.blocks = {Sequential(Conv2d(Conv2dOptions(2, 3, 3).padding(1).stride(2)), GELU())},
                          .readout = Sequential(ConvTranspose2d(ConvTranspose2dOptions(3, 4, 2).stride(2))),
                          .example = torch::zeros({1, 2, 4, 6})});
  model->to(torch::kFloat64);
  const auto batch = pixel_batch(4, 6);
  LocalTrainer trainer(model, DRTP{});
  auto counts = torch::zeros({7, 4}, torch::kFloat64);
  for (std::int64_t c = 0; c < 4; ++c) counts.select(1, c).copy_(batch.y.eq(c).flatten(1).sum(1));

  const auto expected = (-counts).mm(trainer.state().feedback[1].t()).view({7, 3, 1, 1});

  CHECK(distance(trainer.raw_credits(batch.x, batch.y)[1], expected) < 1e-12);
}
