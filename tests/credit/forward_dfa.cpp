// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/forward_dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/io/safetensors.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/rate/constant.hpp>
#include <creditlib/testing/laws.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../position_nets.hpp"
#include "../test.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"
#include "jacobians.hpp"
#include "learned.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Blocks of linear layers alone, so that all samples have one Jacobian.
SequentialBlocks linear_network(bool residual) {
  using namespace torch::nn;
  torch::manual_seed(3);
  return lively(SequentialBlocks(SequentialBlocksOptions{.embed = Sequential(Linear(6, 5)),
                                                         .blocks = {Sequential(Linear(5, 9), Linear(9, 5)),
                                                                    Sequential(Linear(5, 5)), Sequential(Linear(5, 5))},
                                                         .readout = Sequential(Linear(5, small_classes)),
                                                         .residual = residual,
                                                         .example = torch::zeros({1, 6})}),
                torch::kFloat64);
}

}  // namespace

TEST_CASE("on a linear network ForwardDFA along all directions is the oracle", "[credit]") {
  for (const bool residual : {false, true}) {
    auto model = linear_network(residual);
    const auto batch = batch_for(Kind::plain, torch::kFloat64);
    const auto trace = trace_of(model, batch);
    auto state = ForwardDFA{.lr = 1, .optimizer = Optimizer::SGD, .start = FeedbackStart::Random}.bind(
        model, context(torch::kFloat64));
    CHECK(distance(state.credit(model, trace), Oracle{}.credit(model, trace)) > 0.1);

    state.learner.follow(state.feedback, along_all_directions(model, trace, state.feedback));

    CHECK(distance(state.credit(model, trace), Oracle{}.credit(model, trace)) < 1e-12);
  }
}

TEST_CASE("estimates along all directions are the mean Jacobians, also with positions", "[credit]") {
  const auto check = [](auto model, const Batch& batch, const std::string& network) {
    model->eval();
    for (const bool by_element : {false, true}) {
      INFO(network << (by_element ? " by element" : ""));
      const auto trace = trace_of(model, batch);
      const auto state = ForwardDFA{.by_element = by_element}.bind(model, context(torch::kFloat64));
      const auto estimates = along_all_directions(model, trace, state.feedback);
      const auto expected = mean_jacobians(model, trace, state.feedback);
      for (std::size_t l = 0; l < expected.size(); ++l) {
        if (state.feedback[l].defined()) CHECK(distance(estimates[l], expected[l]) < 1e-12);
      }
    }
  };
  check(residual_mlp(torch::kFloat64), small_batch(torch::kFloat64), "residual_mlp");
  for (const auto kind : {Kind::conv, Kind::sequence, Kind::tokens, Kind::no_embed, Kind::dropout}) {
    check(stages(kind, torch::kFloat64), batch_for(kind, torch::kFloat64), name(kind));
  }
  check(token_net(), token_batch(), "tokens with a class each");
  check(pixel_net(), pixel_batch(), "pixels with a class each");
}

TEST_CASE("the mean of ForwardDFA's estimates is the mean Jacobian, within 3 standard errors", "[credit]") {
  const auto check = [](auto model, const Batch& batch, const std::string& network) {
    INFO(network);
    model->eval();
    constexpr int draws = 400;
    const auto trace = trace_of(model, batch);
    const auto state = ForwardDFA{}.bind(model, context(torch::kFloat64));
    const auto expected = mean_jacobians(model, trace, state.feedback);
    std::vector<std::vector<torch::Tensor>> apart(expected.size());
    for (int draw = 0; draw < draws; ++draw) {
      const auto u = creditlib::detail::drawn_directions(model, trace, state.feedback, state.learner.context);
      const auto estimates = creditlib::detail::jacobian_estimates(model, trace, state.feedback, u);
      for (std::size_t l = 0; l < expected.size(); ++l) apart[l].push_back(estimates[l] - expected[l]);
    }
    torch::manual_seed(8);
    for (std::size_t l = 0; l < expected.size(); ++l) {
      const auto all = at::stack(apart[l]);
      for (const auto& v : {expected[l], torch::randn_like(expected[l]), torch::randn_like(expected[l])}) {
        const auto seen = (all * v).flatten(1).sum(1);
        const double error = seen.std().template item<double>() / std::sqrt(1.0 * draws);
        CHECK(std::abs(seen.mean().template item<double>()) < 3 * error);
        CHECK(error < 0.2 * (expected[l].norm() * v.norm()).template item<double>());
      }
    }
  };
  check(residual_mlp(torch::kFloat64), small_batch(torch::kFloat64), "residual_mlp");
  check(stages(Kind::tokens, torch::kFloat64), batch_for(Kind::tokens, torch::kFloat64), "tokens");
  check(token_net(), token_batch(), "tokens with a class each");
}

TEST_CASE("ForwardDFA's matrices descend on their distance from the estimate", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto trace = trace_of(model, small_batch(torch::kFloat64));
  const auto learned = [&](const ForwardDFA& rule) {
    auto state = rule.bind(model, context(torch::kFloat64));
    const auto before = copies(state.feedback);
    const auto draws = context(torch::kFloat64);
    if (rule.start == FeedbackStart::Random) DFA{}.bind(model, draws);  // as many numbers
    const auto u = creditlib::detail::drawn_directions(model, trace, before, draws);
    const auto estimates = creditlib::detail::jacobian_estimates(model, trace, before, u);
    state.learn(model, trace);
    for (std::size_t l = 0; l < before.size(); ++l) {
      if (rule.optimizer == Optimizer::SGD) {
        CHECK(distance(state.feedback[l], (1 - rule.lr) * before[l] + rule.lr * estimates[l]) < 1e-13);
      } else {
        CHECK(distance(state.feedback[l].grad(), before[l] - estimates[l]) < 1e-13);
        // Adam's first step goes by the sign of the gradient.
        CHECK(distance(state.feedback[l], before[l] - rule.lr * state.feedback[l].grad().sign()) < 1e-5);
      }
    }
  };

  learned({.lr = 0.3, .optimizer = Optimizer::SGD, .start = FeedbackStart::Random});
  learned({.lr = 1e-2, .start = FeedbackStart::Random});
  learned({.lr = 1e-2});
}

TEST_CASE("at lr 0 ForwardDFA is DFA to the bit", "[credit]") {
  const auto kind = GENERATE(Kind::plain, Kind::conv);
  const auto optimizer = GENERATE(Optimizer::AdamW, Optimizer::SGD);
  auto one = stages(kind), other = stages(kind);
  LocalTrainer dfa(one, DFA{});
  LocalTrainer fixed(other, ForwardDFA{.lr = 0, .optimizer = optimizer, .start = FeedbackStart::Random}, {}, RowRms{});
  for (std::uint64_t step = 0; step < 4; ++step) {
    const auto [x, y] = batch_for(kind, torch::kFloat32, 7, step);
    dfa.step(x, y);
    fixed.step(x, y);
  }
  CHECK(same(copies(one->parameters()), copies(other->parameters())));
}

TEST_CASE("ForwardDFA comes to follow the gradients of a frozen network, whatever its optimizer", "[credit]") {
  auto& task = frozen_task();
  for (const auto& rule : {ForwardDFA{.lr = 1e-2, .start = FeedbackStart::Random},
                           ForwardDFA{.lr = 1e-2, .optimizer = Optimizer::SGD, .start = FeedbackStart::Random}}) {
    auto state = rule.bind(task.model, context());
    const double untrained = mean_gamma(state, task);

    learn_frozen(state, task, 400);

    const double trained = mean_gamma(state, task);
    CAPTURE(untrained, trained);
    CHECK(untrained < 0.3);
    CHECK(trained > 0.8);
  }
}

TEST_CASE("ForwardDFA's credit reads the error alone, and it may not pull back", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto trace = trace_of(model, small_batch(torch::kFloat64));
  auto state = ForwardDFA{.lr = 0.1}.bind(model, context(torch::kFloat64));
  state.learn(model, trace);
  const auto before = copies(state.credit(model, trace));
  {
    const torch::NoGradGuard no_grad;
    for (const auto& parameter : model->parameters()) torch::Tensor(parameter).variable_data().normal_();
  }
  CHECK(same(before, state.credit(model, trace)));
  CHECK_FALSE(same(before, state.credit(model, trace_of(model, small_batch(torch::kFloat64)))));
  static_assert(!ForwardDFA::State::wants_pullback && ForwardDFA::State::wants_pushforward);
}

TEST_CASE("ForwardDFA says what is wrong with its options", "[credit]") {
  const auto message = [](const ForwardDFA& rule) { return error_of([&] { LocalTrainer(small_model(), rule); }); };

  CHECK(says(message({.lr = -1}), {"ForwardDFA: lr is -1, expected a finite number >= 0."}));
  CHECK(says(message({.feedback = {torch::zeros({5, 4})}}), {"ForwardDFA: 1 feedback matrices were given"}));
  CHECK(message({}) == "(nothing was thrown)");
}

TEST_CASE("ForwardDFA from zeros obeys the laws too, and as a running mean", "[credit]") {
  for (const auto optimizer : {Optimizer::AdamW, Optimizer::SGD}) {
    const auto report = testing::check_laws(ForwardDFA{.optimizer = optimizer},
                                            {stages_case(Kind::plain), stages_case(Kind::conv)}, {.draws = false});
    INFO(report.text());
    CHECK(report.ok());
  }
}

// ---- The authors' way: tests/reference/make_fdfa.py ----

namespace {

/// ForwardDFA's learner along directions that another program has drawn.
struct AlongGiven {
  static constexpr const char* rule = "AlongGiven";
  double lr;
  std::vector<torch::Tensor> drawn;  ///< of h_0..h_L, (steps, B, size of h_l)

  struct State : ForwardDFA::Learner::State {
    std::vector<torch::Tensor> drawn;
    std::int64_t step = 0;

    template <class Model>
    void learn(Model& model, const Trace& trace, const std::vector<torch::Tensor>& matrices) {
      std::vector<torch::Tensor> u(drawn.size());
      for (std::size_t l = 0; l < u.size(); ++l) {
        if (drawn[l].defined()) u[l] = drawn[l][step];
      }
      ++step;
      follow(matrices, creditlib::detail::jacobian_estimates(model, trace, matrices, u));
    }
  };
  State bind(const std::vector<torch::Tensor>& matrices, const BindContext& context) const {
    return {ForwardDFA::Learner{.lr = lr}.bind(matrices, context), drawn};
  }
};

}  // namespace

TEST_CASE("24 steps of ForwardDFA have the numbers of a PyTorch program that runs the authors' way", "[credit]") {
  using namespace torch::nn;
  const auto file = io::read_safetensors(std::string(CREDITLIB_TESTS_DIR) + "/reference/fdfa.safetensors");
  const std::map<std::string, torch::Tensor> reference(file.tensors.begin(), file.tensors.end());
  const auto settings = nlohmann::json::parse(file.metadata.at("settings"));
  const std::vector<std::int64_t> widths = settings["widths"];
  const auto block = [&](std::size_t l) {
    return Sequential(Linear(widths[l], widths[l + 1]), BatchNorm1d(widths[l + 1]), ReLU());
  };
  SequentialBlocks model({.blocks = {block(0), block(1)},
                          .readout = Sequential(Linear(widths[2], settings["classes"].get<std::int64_t>())),
                          .example = torch::zeros({1, widths[0]})});
  model->to(torch::kFloat64);
  {
    const torch::NoGradGuard no_grad;
    for (auto& entry : model->named_parameters()) entry.value().copy_(reference.at("init." + entry.key()));
  }
  const DirectFeedback<AlongGiven> rule{
      .learner = {.lr = settings["feedback_lr"], .drawn = {{}, reference.at("u.1"), reference.at("u.2")}}};
  LocalTrainer trainer(model, rule, {.lr = settings["lr"], .weight_decay = 0}, Raw{}, rate::Constant{});

  std::vector<torch::Tensor> losses;
  for (std::int64_t step = 0; step < settings["steps"]; ++step) {
    losses.push_back(trainer.step(reference.at("x")[step], reference.at("y")[step]).loss);
  }

  CHECK(distance(torch::stack(losses), reference.at("loss")) < 1e-11);
  for (const auto& entry : model->named_parameters()) {
    INFO(entry.key());
    CHECK(distance(entry.value(), reference.at("final." + entry.key())) < 1e-10);
    if (entry.key().ends_with(".weight")) {  // a bias below BatchNorm has no effect
      CHECK(distance(reference.at("init." + entry.key()), reference.at("final." + entry.key())) > 1e-2);
    }
  }
  CHECK(distance(model->named_buffers()["blocks.0.1.running_var"], reference.at("final.blocks.0.1.running_var")) <
        1e-12);
  for (const std::size_t l : {1U, 2U}) {
    CHECK(distance(trainer.state().feedback[l], reference.at("final.feedback." + std::to_string(l))) < 1e-11);
  }
}
