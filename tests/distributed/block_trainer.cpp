// SPDX-License-Identifier: Apache-2.0
// Blocks in different processes: the ranks are threads here, and processes over Gloo at the end.
#include <chrono>
#include <creditlib/credit/channel_goodness.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/drtp.hpp>
#include <creditlib/distributed/block_trainer.hpp>
#include <creditlib/distributed/from_environment.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/optimizer/adamw.hpp>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "../models.hpp"
#include "block_laws.hpp"
#include "processes.hpp"
#include "ranks.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("blocks in several processes train as in one: ResidualMLP", "[distributed][law]") {
  const auto batches = block_batches(Kind::residual_mlp);
  for (const std::int64_t size : {1, 2, 3}) {
    for (const std::int64_t micro_batches : {1, 4}) {
      hold_law_3(size, made_mlp, batches, {}, {.micro_batches = micro_batches}, DFA{});
    }
  }
  hold_law_3(2, made_mlp, batches, {.path = Path::Generic}, {.micro_batches = 3}, DFA{});
  hold_law_3(2, made_mlp, batches, {.clip_norm = 0.05}, {.micro_batches = 2, .blocks = {1, 2}}, DFA{.normalized = true},
             Raw{});
  hold_law_3(2, made_mlp, batches, {.optimizer = Optimizer::SGD}, {.micro_batches = 100}, DFA{.signal = Signal::Sign},
             PenalizedInnerProduct{.lambda = 0.1});
}

TEST_CASE("blocks in several processes train as in one: stages", "[distributed][law]") {
  hold_law_3_of(Kind::plain, 3, {}, {.micro_batches = 4}, DFA{});
  hold_law_3_of(Kind::tokens, 2, {}, {.micro_batches = 4}, DFA{.by_element = true});
  hold_law_3_of(Kind::no_embed, 2, {}, {.micro_batches = 2}, DFA{}, clip::ByValue{.value = 1e-3});
  hold_law_3_of(Kind::batch_norm, 2, {}, {}, DFA{});
  hold_law_3_of(Kind::conv, 2, {}, {}, DFA{});
}

TEST_CASE("blocks in several processes train as in one: rules that read the target", "[distributed][law]") {
  const auto batches = block_batches(Kind::residual_mlp);
  hold_law_3(3, made_mlp, batches, {}, {.micro_batches = 4}, DRTP{});
  hold_law_3_of(Kind::tokens, 2, {}, {.micro_batches = 4}, DRTP{});
  hold_law_3(3, made_mlp, batches, {}, {.micro_batches = 2}, ChannelGoodness{});
}

TEST_CASE("blocks in several processes train as in one: a transformer, sequences of several lengths",
          "[distributed][law]") {
  // Not AdamW: the gradient of the keys' biases is 0 but for rounding, which its update would divide by its own size.
  const TrainerOptions options{.optimizer = Optimizer::SGD};
  for (const std::int64_t size : {2, 3})
    hold_law_3(size, made_transformer, token_batches(), options, {.micro_batches = 4}, DFA{});
  hold_law_3(2, made_transformer, token_batches(), options, {.micro_batches = 2}, DRTP{});
}

// ---- What it costs ----

namespace {

/// Counts what is given to another group.
class CountedGroup final : public distributed::Group {
 public:
  explicit CountedGroup(Ranks group) : group_(std::move(group)) {}

  std::int64_t rank() const override { return group_->rank(); }
  std::int64_t size() const override { return group_->size(); }
  void sum(const std::vector<torch::Tensor>& tensors) override {
    ++others;
    group_->sum(tensors);
  }
  void broadcast(const std::vector<torch::Tensor>& tensors, std::int64_t from) override {
    if (from == rank()) {
      for (const auto& tensor : tensors) numbers += (size() - 1) * tensor.numel();
      ++sent;
    }
    group_->broadcast(tensors, from);
  }
  void send(const torch::Tensor& tensor, std::int64_t to) override {
    numbers += tensor.numel();
    ++sent;
    down += to < rank() ? 1 : 0;
    group_->send(tensor, to);
  }
  void receive(const torch::Tensor& tensor, std::int64_t from) override { group_->receive(tensor, from); }
  void barrier() override {
    ++others;
    group_->barrier();
  }

  std::int64_t numbers = 0, sent = 0, down = 0, others = 0;

 private:
  Ranks group_;
};

/// AdamW, and how many numbers its moments have.
struct CountedAdamW {
  std::shared_ptr<std::int64_t> moments = std::make_shared<std::int64_t>(0);

  optim::AdamW bind(const std::vector<TrainedParameter>& parameters) const {
    auto state = optimizer::AdamW{}.bind(parameters);
    for (const auto& [name, tensor] : state.named_tensors()) *moments += tensor.dim() == 0 ? 0 : tensor.numel();
    return state;
  }
};

}  // namespace

TEST_CASE("a step sends the hidden states up and the logits to all, and for the target's rules no logits",
          "[distributed]") {
  const auto [x, y] = batch_for(Kind::residual_mlp);  // B = 7, d = 5, C = 4
  const auto counted = [&](const auto& rule) {
    std::vector<ResidualMLP> models{residual_mlp(), residual_mlp(), residual_mlp()};
    std::vector<std::int64_t> numbers(3), sent(3), others(3);
    in_ranks(3, [&](const Ranks& threads) {
      const auto at = static_cast<std::size_t>(threads->rank());
      const auto group = std::make_shared<CountedGroup>(threads);
      BlockTrainer trainer(models[at], rule, {.group = group}, {.micro_batches = 4});
      trainer.step(x, y);  // the first compares the ranks' batches
      group->numbers = group->sent = group->down = group->others = 0;
      trainer.step(x, y);
      numbers[at] = group->numbers;
      sent[at] = group->sent;
      others[at] = group->down + group->others;
    });
    CHECK(sent[0] == 4);
    CHECK(sent[1] == 4);
    CHECK(others == std::vector<std::int64_t>(3, 0));
    return std::accumulate(numbers.begin(), numbers.end(), std::int64_t{0});
  };

  CHECK(counted(DFA{}) == 2 * 7 * (5 + 4));
  CHECK(counted(DRTP{}) == 2 * 7 * 5);
}

TEST_CASE("a group of one is never called", "[distributed]") {
  const auto [x, y] = batch_for(Kind::residual_mlp);
  const auto group = std::make_shared<CountedGroup>(distributed::alone());
  BlockTrainer trainer(residual_mlp(), DFA{}, {.group = group}, {.micro_batches = 2});
  trainer.step(x, y);
  trainer.logits(x);
  trainer.end_epoch();
  CHECK(group->sent == 0);
  CHECK(group->others == 0);
}

TEST_CASE("each rank has the parameters and moments of its own blocks alone", "[distributed]") {
  const auto whole = residual_mlp();
  std::int64_t all = 0;
  for (const auto& parameter : whole->parameters()) all += parameter.numel();
  std::vector<ResidualMLP> models{residual_mlp(), residual_mlp(), residual_mlp()};
  std::vector<std::int64_t> numbers(3), bytes(3), moments(3);
  std::vector<std::pair<std::int64_t, std::int64_t>> blocks(3);
  const auto [x, y] = batch_for(Kind::residual_mlp);

  in_ranks(3, [&](const Ranks& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    const CountedAdamW adamw;
    BlockTrainer trainer(models[at], DFA{}, {.group = group}, {}, adamw);
    trainer.step(x, y);
    for (const auto& parameter : models[at]->parameters()) {
      numbers[at] += parameter.numel();
      bytes[at] += static_cast<std::int64_t>(parameter.storage().nbytes());
    }
    moments[at] = *adamw.moments;
    blocks[at] = trainer.blocks();
  });

  std::int64_t block = 0;
  for (const auto& parameter : whole->block_parameters(1)) block += parameter.numel();
  CHECK(numbers[1] == block);
  CHECK(numbers[0] + numbers[1] + numbers[2] == all);
  for (std::size_t rank = 0; rank < 3; ++rank) {
    CHECK(bytes[rank] == 4 * numbers[rank]);
    CHECK(moments[rank] == 2 * numbers[rank]);
  }
  CHECK(blocks == std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 1}, {1, 2}, {2, 3}});
}

TEST_CASE("blocks are split so that the largest part is as small as it can be", "[distributed]") {
  using creditlib::detail::even_split;
  using Counts = std::vector<std::int64_t>;
  CHECK(even_split({1, 1, 1, 1}, 2) == Counts{2, 2});
  CHECK(even_split({1, 1, 1, 1}, 3) == Counts{2, 1, 1});
  CHECK(even_split({5, 1, 1, 1, 1}, 2) == Counts{1, 4});
  CHECK(even_split({1, 1, 1, 6}, 2) == Counts{3, 1});
  CHECK(even_split({9, 1, 1}, 3) == Counts{1, 1, 1});
  CHECK(even_split({4, 4, 4}, 1) == Counts{3});
}

// ---- Processes ----

TEST_CASE("rank: blocks", "[.rank]") {
  const auto group = distributed::from_environment({.timeout = std::chrono::seconds(20)});
  const auto killed = creditlib::detail::environment_variable("KILLED").value_or("no") == "yes";
  const auto batches = block_batches(Kind::residual_mlp);
  LocalTrainer alone(made_mlp(1), DFA{}, {.epochs = 3});
  BlockTrainer trainer(made_mlp(static_cast<std::uint64_t>(1 + group->rank())), DFA{}, {.epochs = 3, .group = group},
                       {.micro_batches = 4});
  try {
    for (std::size_t step = 0; step < batches.size(); ++step) {
      const auto& [x, y] = batches[step];
      if (killed && step == 5 && group->rank() == 1) std::raise(SIGKILL);
      const auto found = trainer.step(x, y), expected = alone.step(x, y);
      CHECK(found.loss.item<double>() == Approx(expected.loss.item<double>()).epsilon(1e-10));
    }
    trainer.end_epoch();
  } catch (const Error& error) {
    std::cout << error.what() << std::endl;
    std::_Exit(7);
  }
  for (std::size_t i = 0; i < alone.model()->parameters().size(); ++i) {
    const auto found = trainer.model()->parameters()[i];
    if (found.numel() > 0) CHECK(apart(found, alone.model()->parameters()[i]) <= 1e-11);
  }
  const auto result = trainer.evaluate(batches[0].x, batches[0].y);
  const auto expected = alone.model()->forward(batches[0].x).argmax(1).eq(batches[0].y).sum();
  CHECK(torch::equal(result.correct, expected));
}

TEST_CASE("blocks in processes over Gloo train as in one", "[distributed][law]") {
  for (const int size : {2, 3}) {
    for (const auto& ended : ran_as_ranks(size, "rank: blocks")) {
      INFO(ended.output);
      CHECK(ended.code == 0);
    }
  }
}

TEST_CASE("a rank that is killed is an error on the ranks below and above", "[distributed]") {
  const auto ended = ran_as_ranks(3, "rank: blocks", {{"KILLED", "yes"}});
  CHECK(ended[1].code == 128 + SIGKILL);
  for (const std::size_t rank : {std::size_t{0}, std::size_t{2}}) {
    INFO(ended[rank].output);
    CHECK(ended[rank].code == 7);
    CHECK(ended[rank].output.find("Rank 1 is gone") != std::string::npos);
  }
}
