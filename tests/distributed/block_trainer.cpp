// SPDX-License-Identifier: Apache-2.0
// Blocks in different processes: the ranks are threads here, and processes over Gloo at the end.
#include <chrono>
#include <creditlib/credit/channel_goodness.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/drtp.hpp>
#include <creditlib/distributed/block_trainer.hpp>
#include <creditlib/distributed/from_environment.hpp>
#include <creditlib/io/load_weights.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/model/transformer_lm.hpp>
#include <creditlib/optimizer/adamw.hpp>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../temporary_folder.hpp"
#include "processes.hpp"
#include "ranks.hpp"

using namespace creditlib;
using namespace creditlib::test;
using distributed::BlockOptions;
using distributed::BlockTrainer;

namespace {

using Ranks = std::shared_ptr<distributed::Group>;

constexpr std::size_t block_steps = 24;
constexpr std::int64_t block_rows = 7;

/// Made before the threads of ranks begin, since it draws from LibTorch's global generator.
std::vector<Batch> block_batches(Kind kind) {
  std::vector<Batch> batches;
  for (std::uint64_t step = 0; step < block_steps; ++step) {
    batches.push_back(batch_for(kind, torch::kFloat64, block_rows, 100 + step));
  }
  return batches;
}
std::vector<Batch> token_batches() {
  std::vector<Batch> batches;
  for (std::size_t step = 0; step < block_steps; ++step) {
    torch::manual_seed(step);
    const auto tokens = torch::randint(11, {5, 5 + static_cast<std::int64_t>(step % 3)});
    batches.push_back({tokens.narrow(1, 0, tokens.size(1) - 1), tokens.narrow(1, 1, tokens.size(1) - 1)});
  }
  return batches;
}

struct TrainedBlocks {
  std::vector<std::vector<torch::Tensor>> parameters;  ///< of each rank
  std::vector<torch::Tensor> logits;                   ///< of each rank
  std::vector<std::vector<StepResult>> results;
};

/// Trains on the batches in `size` ranks.
template <class Make, class Rule, class... Policies>
TrainedBlocks trained_in_blocks(std::int64_t size, const Make& make, const std::vector<Batch>& batches,
                                const TrainerOptions& options, const BlockOptions& blocks, const Rule& rule,
                                const Policies&... policies) {
  std::vector<decltype(make(1))> models;
  for (std::int64_t rank = 0; rank < size; ++rank) models.push_back(make(static_cast<std::uint64_t>(rank + 1)));
  const auto ranks = static_cast<std::size_t>(size);
  TrainedBlocks trained{std::vector<std::vector<torch::Tensor>>(ranks), std::vector<torch::Tensor>(ranks),
                        std::vector<std::vector<StepResult>>(ranks)};
  in_ranks(size, [&](const Ranks& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    auto own = options;
    own.group = group;
    BlockTrainer trainer(models[at], rule, own, blocks, policies...);  // of other weights than rank 0's, which it gets
    for (std::size_t step = 0; step < batches.size(); ++step) {
      const auto& [x, y] = batches[step];
      trained.results[at].push_back(trainer.step(at == 1 ? torch::Tensor() : x, y));  // rank 0's x alone is read
      if (step == 11) trainer.end_epoch();
    }
    trained.logits[at] = trainer.logits(at == 0 ? batches[0].x : torch::Tensor());
    trained.parameters[at] = trainer.model()->parameters();
  });
  return trained;
}

double apart(const torch::Tensor& a, const torch::Tensor& b) { return (a - b).abs().max().item<double>(); }

/// Law 3: blocks in several processes train as LocalTrainer does in one.
template <class Make, class Rule, class... Policies>
void hold_law_3(std::int64_t size, const Make& make, const std::vector<Batch>& batches, TrainerOptions options,
                const BlockOptions& blocks, const Rule& rule, const Policies&... policies) {
  options.epochs = 3;
  LocalTrainer alone(make(1), rule, options, policies...);
  std::vector<double> losses;
  std::vector<std::int64_t> correct;
  for (std::size_t step = 0; step < batches.size(); ++step) {
    const auto result = alone.step(batches[step].x, batches[step].y);
    losses.push_back(result.loss.template item<double>());
    correct.push_back(result.correct.template item<std::int64_t>());
    if (step == 11) alone.end_epoch();
  }
  const auto expected = alone.model()->parameters();
  alone.model()->eval();
  const auto logits = alone.model()->forward(batches[0].x);

  const auto trained = trained_in_blocks(size, make, batches, options, blocks, rule, policies...);

  INFO(size << " ranks, " << blocks.micro_batches << " micro-batches");
  const auto names = alone.model()->named_parameters().keys();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO(names[i]);
    int held = 0;
    for (const auto& parameters : trained.parameters) {
      if (parameters[i].numel() == 0) continue;
      ++held;
      CHECK(apart(parameters[i], expected[i]) <= 1e-11);
    }
    CHECK(held == 1);
  }
  const auto last = static_cast<std::size_t>(size) - 1;
  for (std::size_t rank = 0; rank <= last; ++rank) {
    CHECK(apart(trained.logits[rank], logits) <= 1e-10);
    for (std::size_t step = 0; step < losses.size(); ++step) {
      const auto& [loss, right] = trained.results[rank][step];
      if (!loss.defined()) {
        CHECK(rank != last);
        continue;
      }
      CHECK(loss.template item<double>() == Approx(losses[step]).epsilon(1e-10));
      CHECK(right.template item<std::int64_t>() == correct[step]);
    }
  }
}

template <class Rule, class... Policies>
void hold_law_3_of(Kind kind, std::int64_t size, const TrainerOptions& options, const BlockOptions& blocks,
                   const Rule& rule, const Policies&... policies) {
  const auto make = [kind](std::uint64_t seed) { return stages(kind, torch::kFloat64, seed); };
  hold_law_3(size, make, block_batches(kind), options, blocks, rule, policies...);
}

ResidualMLP made_mlp(std::uint64_t seed) { return residual_mlp(torch::kFloat64, seed); }

}  // namespace

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
  const auto make = [](std::uint64_t seed) {
    torch::manual_seed(seed);
    return lively(TransformerLM({.vocabulary = 11, .context = 7, .width = 8, .heads = 2, .blocks = 3}),
                  torch::kFloat64);
  };
  // Not AdamW: the gradient of the keys' biases is 0 but for rounding, which its update would divide by its own size.
  const TrainerOptions options{.optimizer = Optimizer::SGD};
  for (const std::int64_t size : {2, 3}) hold_law_3(size, make, token_batches(), options, {.micro_batches = 4}, DFA{});
  hold_law_3(2, make, token_batches(), options, {.micro_batches = 2}, DRTP{});
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

// ---- Checkpoints ----

TEST_CASE("a run goes on in another number of processes, and in a LocalTrainer", "[distributed]") {
  const TemporaryFolder folder;
  const auto batches = block_batches(Kind::batch_norm);
  const auto make = [](std::uint64_t seed) { return stages(Kind::batch_norm, torch::kFloat64, seed); };
  const auto train = [&](auto& trainer) {
    for (const auto& [x, y] : batches) trainer.step(x, y);
    trainer.end_epoch();
  };
  const TrainerOptions options{.epochs = 9};
  const auto in_blocks = [&](std::int64_t size, const auto& action) {
    std::vector<SequentialBlocks> models;
    for (std::int64_t rank = 0; rank < size; ++rank) models.push_back(make(static_cast<std::uint64_t>(rank + 5)));
    in_ranks(size, [&](const Ranks& group) {
      auto own = options;
      own.group = group;
      BlockTrainer trainer(models[static_cast<std::size_t>(group->rank())], DFA{}, own);
      action(trainer);
    });
  };

  LocalTrainer alone(make(1), DFA{}, options);
  train(alone);
  alone.save(folder.path() / "alone.pt");
  train(alone);
  in_blocks(2, [&](auto& trainer) {
    trainer.load(folder.path() / "alone.pt");
    train(trainer);
    trainer.save(folder.path() / "two.pt");
  });
  in_blocks(1, [&](auto& trainer) {
    trainer.load(folder.path() / "alone.pt");
    train(trainer);
    trainer.save(folder.path() / "one.pt");
  });

  for (const auto* file : {"two.pt", "one.pt"}) {
    LocalTrainer resumed(make(3), DFA{}, options);
    resumed.load(folder.path() / file);
    CHECK(resumed.steps() == alone.steps());
    CHECK(resumed.epoch() == alone.epoch());
    for (std::size_t i = 0; i < alone.model()->parameters().size(); ++i) {
      CHECK(apart(resumed.model()->parameters()[i], alone.model()->parameters()[i]) <= 1e-11);
    }
    for (std::size_t i = 0; i < alone.model()->buffers().size(); ++i) {
      CHECK(torch::allclose(resumed.model()->buffers()[i], alone.model()->buffers()[i], 0, 1e-11));
    }
    auto whole = make(4);
    io::load_weights(whole, folder.path() / file, {.prefix = "model."});
    CHECK(apart(whole->parameters()[0], alone.model()->parameters()[0]) <= 1e-11);
  }
  LocalTrainer resumed(make(3), DFA{}, options);
  resumed.load(folder.path() / "two.pt");
  train(alone);
  train(resumed);
  for (std::size_t i = 0; i < alone.model()->parameters().size(); ++i) {
    CHECK(apart(resumed.model()->parameters()[i], alone.model()->parameters()[i]) <= 1e-11);
  }
}

// ---- What is refused ----

namespace {

template <class Action>
std::vector<std::string> said_in_ranks(std::int64_t size, const Action& action) {
  std::vector<std::string> said(static_cast<std::size_t>(size));
  const auto say = [&](const Ranks& group) {
    said[static_cast<std::size_t>(group->rank())] = error_of([&] { action(group); });
  };
  in_ranks(size, say, std::chrono::seconds(3));
  return said;
}

}  // namespace

TEST_CASE("what blocks in several processes cannot do is said before the first step", "[distributed]") {
  const auto check = [](std::int64_t size, const auto& action, std::initializer_list<std::string> parts) {
    const auto said = said_in_ranks(size, action);
    CHECK(says(said[0], parts));
    for (const auto& each : said) CHECK(each == said[0]);
  };
  std::vector<ResidualMLP> models, fresh, narrow;
  std::vector<SequentialBlocks> with_norm, tied;
  for (int i = 0; i < 4; ++i) {
    models.push_back(residual_mlp());
    fresh.push_back(residual_mlp());
    narrow.emplace_back(ResidualMLPOptions{.input = 2, .width = 3, .classes = 4, .blocks = 3});
    with_norm.push_back(stages(Kind::batch_norm));
    const torch::nn::Linear layer(4, 4);
    tied.emplace_back(SequentialBlocksOptions{.blocks = {layer, torch::nn::Linear(4, 4), layer},
                                              .readout = torch::nn::Linear(4, 3),
                                              .example = torch::zeros({1, 4})});
  }
  const auto of = [](const auto& each, const Ranks& group) { return each[static_cast<std::size_t>(group->rank())]; };

  check(4, [&](const Ranks& group) { BlockTrainer(of(models, group), DFA{}, {.group = group}); },
        {"4 processes for 3 blocks"});
  check(2, [&](const Ranks& group) { BlockTrainer(of(models, group), DFA{}, {.group = group}, {.blocks = {3, 0}}); },
        {"BlockOptions: blocks is (3, 0)", "at least 1 each, and 3 in all"});
  check(2,
        [&](const Ranks& group) {
          BlockTrainer(of(models, group), DFA{}, {.group = group}, {.micro_batches = 1 + group->rank()});
        },
        {"do not agree", "micro_batches is 2 on rank 1, and 1 on rank 0"});
  check(
      2,
      [&](const Ranks& group) { BlockTrainer(of(models, group), DFA{}, {.lr = group->rank() + 1.0, .group = group}); },
      {"TrainerOptions::lr is 2 on rank 1"});
  check(2,
        [&](const Ranks& group) {
          if (group->rank() == 0) {
            BlockTrainer(of(models, group), DFA{}, {.group = group});
          } else {
            BlockTrainer(of(models, group), DRTP{}, {.group = group});
          }
        },
        {"the trainer's type is", "on rank 1"});
  check(2,
        [&](const Ranks& group) { BlockTrainer(of(with_norm, group), DFA{}, {.group = group}, {.micro_batches = 2}); },
        {"is a BatchNorm in train mode", "micro_batches is 2"});
  check(2, [&](const Ranks& group) { BlockTrainer(of(tied, group), DFA{}, {.group = group}); },
        {"parameter blocks.0.", "shared by parts of the network on ranks 0 and 1"});

  check(2,
        [&](const Ranks& group) {
          const BlockTrainer trainer(of(fresh, group), DFA{}, {.group = group});
          trainer.save("no such folder/run.pt");
        },
        {"no such folder"});

  CHECK(says(error_of([] { BlockTrainer(residual_mlp(), DFA{}, {.clip_norm = 1, .clip_scope = ClipScope::All}); }),
             {"clip_scope is All"}));
  std::int64_t numbers = 0;  // a rule that refuses the model leaves it whole
  check(2, [&](const Ranks& group) { BlockTrainer(of(narrow, group), ChannelGoodness{}, {.group = group}); },
        {"fewer than the 4 classes"});
  for (const auto& parameter : narrow[1]->parameters()) numbers += parameter.numel();
  CHECK(numbers == 2 * 3 + 3 + 3 * (3 * 2 + 2 * (3 * 3 + 3)) + 3 * 2 + 3 * 4 + 4);

  CHECK(says(error_of([] { BlockTrainer(residual_mlp(), DFA{}, {.memory = Memory::Constant}); }),
             {"memory is Constant"}));
  CHECK(says(error_of([] { BlockTrainer(residual_mlp(), DFA{}, {}, {.micro_batches = 0}); }), {"micro_batches is 0"}));
}

TEST_CASE("a batch that does not fit, and ranks at other steps, are said", "[distributed]") {
  std::vector<ResidualMLP> models{residual_mlp(), residual_mlp()};
  const auto [x, y] = batch_for(Kind::residual_mlp);
  std::vector<std::string> of_label(2), of_target(2);
  const auto said = said_in_ranks(2, [&](const Ranks& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    BlockTrainer trainer(models[at], DFA{}, {.group = group});
    trainer.step(x, y);
    of_label[at] = error_of([&] { trainer.step(x, y + 9); });
    of_target[at] = error_of([&] { trainer.step(x, y.view({1, -1})); });
    if (at == 1) trainer.load(std::filesystem::path("no such file"));
    trainer.end_epoch();
  });
  for (std::size_t rank = 0; rank < 2; ++rank) {
    CHECK(says(of_label[rank], {"label"}));
    CHECK(says(of_target[rank], {"the target is (1, 7)"}));
  }
  CHECK(says(said[1], {"cannot be read"}));
  CHECK(says(said[0], {"Rank 1 did not come"}));
}

TEST_CASE("after an error on one rank alone its next step is not taken for the others' present one", "[distributed]") {
  std::vector<ResidualMLP> models{residual_mlp(), residual_mlp()};
  const auto [x, y] = batch_for(Kind::residual_mlp);
  std::string first;
  const auto said = said_in_ranks(2, [&](const Ranks& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    BlockTrainer trainer(models[at], DFA{}, {.group = group});
    if (at == 0) first = error_of([&] { trainer.step(x.narrow(1, 0, 2), y); });
    trainer.step(x, y);
  });

  CHECK(says(first, {"expected 6"}));
  CHECK(says(said[0], {"an earlier call failed on this rank", "checkpoint"}));
  CHECK(says(said[1], {"Rank 0 did not come"}));
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
