// SPDX-License-Identifier: Apache-2.0
// What blocks in different processes refuse, and what is said where ranks come apart.
#include <creditlib/credit/channel_goodness.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/drtp.hpp>
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/distributed/block_trainer.hpp>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

#include "../models.hpp"
#include "block_laws.hpp"
#include "ranks.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("what blocks in several processes cannot do is said before the first step", "[distributed]") {
  const auto check = [](std::int64_t size, const auto& action, std::initializer_list<std::string> parts) {
    const auto said = said_in_ranks(size, action);
    CHECK(says(said[0], parts));
    for (const auto& each : said) CHECK(each == said[0]);
  };
  std::vector<ResidualMLP> models, fresh, apart, narrow;
  std::vector<SequentialBlocks> with_norm, tied;
  for (int i = 0; i < 4; ++i) {
    models.push_back(residual_mlp());
    fresh.push_back(residual_mlp());
    apart.push_back(residual_mlp());
    narrow.emplace_back(ResidualMLPOptions{.input = 2, .width = 3, .classes = 4, .blocks = 3});
    with_norm.push_back(stages(Kind::batch_norm));
    const torch::nn::Linear layer(4, 4);
    tied.emplace_back(SequentialBlocksOptions{.blocks = {layer, torch::nn::Linear(4, 4), layer},
                                              .readout = torch::nn::Linear(4, 3),
                                              .example = torch::zeros({1, 4})});
  }
  const auto batch = batch_for(Kind::residual_mlp);
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
        [&](const Ranks& group) {  // as of Batches with .group
          BlockTrainer trainer(of(apart, group), DFA{}, {.group = group});
          trainer.step(batch.x, torch::full_like(batch.y, group->rank()));
        },
        {"the first batch, which is the same on all ranks (Batches without .group), by its target is (", "on rank 1"});
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

namespace {

/// One layer for all hidden states.
struct OneLayer {
  torch::nn::Linear layer;

  torch::nn::Linear module(const HeadInput&) const { return layer; }
  torch::Tensor loss(torch::nn::Linear& net, const torch::Tensor& h, const Trace& trace) const {
    return trace.loss(net->forward(h));
  }
};

/// A rule that declares block_parallel, and says that it reads weights.
struct ReadsWeights {
  struct State : DFA::State {
    Reads reads() const { return Reads::Error | Reads::Weights; }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

}  // namespace

TEST_CASE("heads that ranks would share, and rules that read weights, are said before the first step",
          "[distributed]") {
  std::vector<ResidualMLP> models;
  std::vector<torch::nn::Linear> layers;
  for (int i = 0; i < 4; ++i) {
    models.push_back(residual_mlp());
    layers.emplace_back(5, 4);
  }
  std::int64_t numbers = 0;

  const auto shared = said_in_ranks(2, [&](const Ranks& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    BlockTrainer(models[at], LocalHeads<OneLayer>{.head = {layers[at]}}, {.group = group}, {.blocks = {1, 2}});
  });
  for (const auto& parameter : models[1]->parameters()) numbers += parameter.numel();
  const auto reading = said_in_ranks(2, [&](const Ranks& group) {
    const auto at = static_cast<std::size_t>(group->rank()) + 2;
    BlockTrainer(models[at], ReadsWeights{}, {.group = group});
  });

  for (const auto& each : shared) {
    CHECK(says(each, {"credit.heads.0.weight of the credit source belongs to h_0 on rank 0 and to h_2 on rank 1"}));
  }
  for (const auto& each : reading)
    CHECK(says(each, {"says that it reads error, weights", "in the last process, the readout"}));
  for (const auto& parameter : residual_mlp()->parameters()) numbers -= parameter.numel();
  CHECK(numbers == 0);  // the refusal leaves the model whole
  const LocalHeads<OneLayer> heads{.head = {torch::nn::Linear(5, 4)}};
  CHECK(error_of([&] { BlockTrainer(residual_mlp(), heads, {}); }) == "(nothing was thrown)");
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
