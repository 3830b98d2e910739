// SPDX-License-Identifier: Apache-2.0
// Checkpoints of blocks in different processes.
#include <creditlib/credit/decoupled_greedy.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/credit/mono_forward.hpp>
#include <creditlib/distributed/block_trainer.hpp>
#include <creditlib/io/load_weights.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/trainer/checkpoint.hpp>
#include <cstdint>
#include <vector>

#include "../models.hpp"
#include "../temporary_folder.hpp"
#include "block_laws.hpp"
#include "ranks.hpp"
#include "remembering_head.hpp"

using namespace creditlib;
using namespace creditlib::test;

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

namespace {

/// Trains on in `more` ranks and then in `fewer` from what LocalTrainer saves, and back in LocalTrainer.
template <class Rule>
void hold_a_run_of_several_sizes(Kind kind, std::int64_t more, std::int64_t fewer, const Rule& rule) {
  const TemporaryFolder folder;
  const auto batches = block_batches(kind);
  const TrainerOptions options{.epochs = 9};
  const auto make = [kind](std::uint64_t seed) { return stages(kind, torch::kFloat64, seed); };
  const auto train = [&](auto& trainer) {
    for (const auto& [x, y] : batches) trainer.step(x, y);
    trainer.end_epoch();
  };
  const auto goes_on = [&](std::int64_t size, const char* from, const char* to) {
    std::vector<SequentialBlocks> models;
    for (std::int64_t rank = 0; rank < size; ++rank) models.push_back(make(static_cast<std::uint64_t>(rank + 5)));
    in_ranks(size, [&](const Ranks& group) {
      auto own = options;
      own.group = group;
      own.seed = 5;  // what the rule draws is in the file
      BlockTrainer trainer(models[static_cast<std::size_t>(group->rank())], rule, own, {.micro_batches = 2});
      trainer.load(folder.path() / from);
      train(trainer);
      trainer.save(folder.path() / to);
    });
  };

  LocalTrainer alone(make(1), rule, options);
  train(alone);
  alone.save(folder.path() / "alone.pt");
  goes_on(more, "alone.pt", "more.pt");
  goes_on(fewer, "more.pt", "fewer.pt");
  LocalTrainer resumed(make(3), rule, options);
  resumed.load(folder.path() / "fewer.pt");
  train(resumed);
  resumed.save(folder.path() / "resumed.pt");

  for (const auto* file : {"more.pt", "fewer.pt", "resumed.pt"}) {
    train(alone);
    alone.save(folder.path() / "expected.pt");
    const auto found = creditlib::detail::load_tensors(folder.path() / file);
    const auto expected = creditlib::detail::load_tensors(folder.path() / "expected.pt");
    CHECK(found.size() == expected.size());
    for (const auto& [name, tensor] : expected) {
      INFO(file << ", " << name);
      REQUIRE(found.contains(name));
      REQUIRE(found.at(name).sizes() == tensor.sizes());
      CHECK(apart(found.at(name).to(torch::kFloat64), tensor.to(torch::kFloat64)) <= 1e-11);
    }
  }
}

}  // namespace

TEST_CASE("what a rule has learned goes on in another number of processes, and in a LocalTrainer", "[distributed]") {
  hold_a_run_of_several_sizes(Kind::plain, 3, 2, DirectKolenPollack{.lr = 1e-2, .decay = 0.1});
  hold_a_run_of_several_sizes(Kind::no_embed, 2, 1, DirectKolenPollack{.lr = 1e-2});
  hold_a_run_of_several_sizes(Kind::plain, 3, 2, LocalHeads<RememberingHead>{.lr = 1e-2});
  hold_a_run_of_several_sizes(Kind::no_embed, 2, 1, MonoForward{.lr = 1e-2});
  hold_a_run_of_several_sizes(Kind::plain, 3, 2, DecoupledGreedy{.batch_norm = false, .lr = 1e-2});
}
