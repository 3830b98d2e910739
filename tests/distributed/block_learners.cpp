// SPDX-License-Identifier: Apache-2.0
// Rules that learn, with blocks in different processes: what they learn of a block is on its rank alone.
#include <chrono>
#include <creditlib/credit/decoupled_greedy.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/credit/local_error_signals.hpp>
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/credit/mono_forward.hpp>
#include <creditlib/distributed/block_trainer.hpp>
#include <creditlib/distributed/from_environment.hpp>
#include <creditlib/local_trainer.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "../models.hpp"
#include "block_laws.hpp"
#include "processes.hpp"
#include "ranks.hpp"
#include "remembering_head.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// A rule of a user's own: B_l follows h_l^T e, at a rate that falls with the size of the error so far.
struct SlowingFeedback {
  struct State {
    static constexpr bool block_parallel = true;

    std::vector<torch::Tensor> feedback;
    torch::Tensor errors, updates;  ///< of no hidden state: the same on all ranks

    template <class Model>
    std::vector<torch::Tensor> credit(Model&, const Trace& trace) const {
      std::vector<torch::Tensor> credits(feedback.size());
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        if (trace.hidden[l].defined()) credits[l] = trace.error.mm(feedback[l].t());
      }
      return credits;
    }
    template <class Model>
    void learn(Model&, const Trace& trace) {
      errors.add_(trace.error.square().sum());
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        if (trace.hidden[l].defined()) feedback[l].add_(trace.hidden[l].t().mm(trace.error) / (10 + errors));
      }
    }
    template <class Model>
    void after_step(Model&, const Trace&) {
      updates.add_(1);
    }
    Reads reads() const { return Reads::Error; }
    NamedTensors named_tensors() const {
      auto named = numbered("feedback", feedback);
      named.emplace_back("errors", errors);
      named.emplace_back("updates", updates);
      return named;
    }
    std::vector<torch::Tensor> tensors_of(std::int64_t l) const { return {feedback[static_cast<std::size_t>(l)]}; }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    const auto zero = torch::zeros({}, context.dtype);
    State state{.feedback = {}, .errors = zero, .updates = zero.clone()};
    for (std::int64_t l = 0; l <= model->blocks(); ++l) {
      state.feedback.push_back(context.randn({model->hidden_shape(l)[0], model->classes()}));
    }
    return state;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("rules that learn train with blocks in several processes as in one: ResidualMLP",
                   "[distributed][law]", DirectKolenPollack, MonoForward, LocalHeads<RememberingHead>) {
  const auto batches = block_batches(Kind::residual_mlp);
  for (const std::int64_t size : {1, 2, 3}) {
    for (const std::int64_t micro_batches : {1, 4}) {
      hold_law_3(size, made_mlp, batches, {}, {.micro_batches = micro_batches}, TestType{.lr = 1e-2});
    }
  }
  hold_law_3(2, made_mlp, batches, {.clip_norm = 0.05, .path = Path::Generic}, {.micro_batches = 3, .blocks = {2, 1}},
             TestType{.lr = 1e-2}, RowRms{});
}

TEST_CASE("rules that learn train with blocks in several processes as in one: stages", "[distributed][law]") {
  const DirectKolenPollack feedback{.lr = 1e-2, .decay = 0.1, .start = FeedbackStart::Random};
  hold_law_3_of(Kind::tokens, 2, {}, {.micro_batches = 4}, feedback);
  hold_law_3_of(Kind::no_embed, 2, {}, {.micro_batches = 2}, feedback);
  hold_law_3_of(Kind::conv, 2, {}, {}, DirectKolenPollack{.lr = 1e-2, .by_element = true});
  hold_law_3_of(Kind::batch_norm, 2, {}, {}, MonoForward{.lr = 1e-2});
  hold_law_3_of(Kind::no_embed, 2, {}, {.micro_batches = 2}, LocalHeads<RememberingHead>{.weight_decay = 0.1});
}

TEST_CASE("every rank has the whole batch: heads may couple its samples", "[distributed][law]") {
  hold_law_3(3, made_mlp, block_batches(Kind::residual_mlp), {}, {.micro_batches = 4}, LocalErrorSignals{.lr = 1e-2});
  hold_law_3_of(Kind::conv, 2, {}, {}, LocalErrorSignals{.beta = 0.5});
}

TEST_CASE("the last rank has the readout: its block may be trained through it", "[distributed][law]") {
  // Not AdamW: under BatchNorm the gradient of the biases below is 0 but for rounding, which its update would divide by its
  // own size.
  const TrainerOptions options{.optimizer = Optimizer::SGD};
  hold_law_3(3, made_mlp, block_batches(Kind::residual_mlp), options, {.micro_batches = 4},
             DecoupledGreedy{.lr = 1e-2});
  hold_law_3_of(Kind::conv, 2, options, {}, DecoupledGreedy{.lr = 1e-2});
  hold_law_3_of(Kind::plain, 2, {.path = Path::Generic}, {.micro_batches = 3}, DecoupledGreedy{.batch_norm = false});
  hold_law_3_of(Kind::no_embed, 2, {}, {.micro_batches = 2}, LocalHeads<RememberingHead>{.last_from_readout = true});
}

TEST_CASE("rules that learn train with blocks in several processes as in one: a class per position",
          "[distributed][law]") {
  const TrainerOptions options{.optimizer = Optimizer::SGD};
  hold_law_3(2, made_transformer, token_batches(), options, {.micro_batches = 2}, DirectKolenPollack{});
  hold_law_3(3, made_transformer, token_batches(), options, {.micro_batches = 4}, MonoForward{});
}

TEST_CASE("a rule of a user's own keeps what belongs to no hidden state equal on all ranks", "[distributed][law]") {
  hold_law_3(3, made_mlp, block_batches(Kind::residual_mlp), {}, {.micro_batches = 2}, SlowingFeedback{});
}

TEST_CASE("each rank has what the rule learns of its own blocks alone", "[distributed]") {
  const auto [x, y] = batch_for(Kind::residual_mlp);
  const auto check = [&x = x, &y = y](const auto& rule) {
    const auto numbers_of = [](const auto& trainer) {
      std::int64_t numbers = 0, bytes = 0;
      for (const auto& [name, tensor] : trainer.state().named_tensors()) {
        numbers += tensor.numel();
        bytes += static_cast<std::int64_t>(tensor.storage().nbytes());
      }
      CHECK(bytes == 4 * numbers);
      return numbers;
    };
    std::vector<ResidualMLP> models{residual_mlp(), residual_mlp(), residual_mlp()};
    std::vector<std::int64_t> numbers(3);
    in_ranks(3, [&](const Ranks& group) {
      const auto at = static_cast<std::size_t>(group->rank());
      BlockTrainer trainer(models[at], rule, {.group = group});
      trainer.step(x, y);
      numbers[at] = numbers_of(trainer);
    });
    const LocalTrainer whole(residual_mlp(), rule, {});
    CHECK(numbers[1] == numbers[2]);
    CHECK(numbers[0] == 2 * numbers[1]);  // h_0 and h_1
    CHECK(numbers[0] + numbers[1] + numbers[2] == numbers_of(whole));
  };

  check(DFA{});
  check(DirectKolenPollack{});
  check(MonoForward{});
  check(LocalHeads<RememberingHead>{});
}

// ---- Processes ----

TEST_CASE("rank: learning blocks", "[.rank]") {
  const auto group = distributed::from_environment({.timeout = std::chrono::seconds(20)});
  const auto batches = block_batches(Kind::residual_mlp);
  LocalTrainer alone(made_mlp(1), MonoForward{.lr = 1e-2}, {.epochs = 3});
  BlockTrainer trainer(made_mlp(static_cast<std::uint64_t>(1 + group->rank())), MonoForward{.lr = 1e-2},
                       {.epochs = 3, .group = group}, {.micro_batches = 4});
  for (const auto& [x, y] : batches) {
    trainer.step(x, y);
    alone.step(x, y);
  }
  trainer.end_epoch();
  const auto expected = alone.state().named_tensors();
  const auto found = trainer.state().named_tensors();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO(expected[i].first);
    if (found[i].second.numel() > 0) CHECK(apart(found[i].second, expected[i].second) <= 1e-11);
  }
}

TEST_CASE("rules that learn train with blocks in processes over Gloo as in one", "[distributed][law]") {
  for (const auto& ended : ran_as_ranks(2, "rank: learning blocks")) {
    INFO(ended.output);
    CHECK(ended.code == 0);
  }
}
