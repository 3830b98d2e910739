// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <creditlib/distributed/block_trainer.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/transformer_lm.hpp>
#include <creditlib/named_tensors.hpp>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "../models.hpp"
#include "ranks.hpp"

/// Blocks in different processes beside a LocalTrainer in one: the ranks are threads.
namespace creditlib::test {

using distributed::BlockOptions;
using distributed::BlockTrainer;

using Ranks = std::shared_ptr<distributed::Group>;

inline constexpr std::size_t block_steps = 24;
inline constexpr std::int64_t block_rows = 7;

/// Made before the threads of ranks begin, since it draws from LibTorch's global generator.
inline std::vector<Batch> block_batches(Kind kind) {
  std::vector<Batch> batches;
  for (std::uint64_t step = 0; step < block_steps; ++step) {
    batches.push_back(batch_for(kind, torch::kFloat64, block_rows, 100 + step));
  }
  return batches;
}
inline std::vector<Batch> token_batches() {
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
  std::vector<NamedTensors> learned;                   ///< of each rank: the rule's own tensors
  std::vector<torch::Tensor> logits;                   ///< of each rank
  std::vector<std::vector<StepResult>> results;
};

/// A rule's own tensors.
template <class Trainer>
NamedTensors tensors_of_rule(const Trainer& trainer) {
  if constexpr (requires { trainer.state().named_tensors(); }) {
    return trainer.state().named_tensors();
  } else {
    return {};
  }
}

/// Trains on the batches in `size` ranks.
template <class Make, class Rule, class... Policies>
TrainedBlocks trained_in_blocks(std::int64_t size, const Make& make, const std::vector<Batch>& batches,
                                const TrainerOptions& options, const BlockOptions& blocks, const Rule& rule,
                                const Policies&... policies) {
  std::vector<decltype(make(1))> models;
  for (std::int64_t rank = 0; rank < size; ++rank) models.push_back(make(static_cast<std::uint64_t>(rank + 1)));
  const auto ranks = static_cast<std::size_t>(size);
  TrainedBlocks trained{std::vector<std::vector<torch::Tensor>>(ranks), std::vector<NamedTensors>(ranks),
                        std::vector<torch::Tensor>(ranks), std::vector<std::vector<StepResult>>(ranks)};
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
    trained.learned[at] = tensors_of_rule(trainer);
  });
  return trained;
}

inline double apart(const torch::Tensor& a, const torch::Tensor& b) { return (a - b).abs().max().item<double>(); }

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
  std::set<const void*> of_states;
  for (std::int64_t l = 0; l <= alone.model()->blocks(); ++l) {
    for (const auto& tensor : alone.state().tensors_of(l)) of_states.insert(tensor.unsafeGetTensorImpl());
  }
  const auto learned = tensors_of_rule(alone);
  for (std::size_t i = 0; i < learned.size(); ++i) {
    INFO(learned[i].first);
    int held = 0;
    for (const auto& of_rank : trained.learned) {
      REQUIRE(of_rank[i].first == learned[i].first);
      if (of_rank[i].second.numel() == 0) continue;
      ++held;
      CHECK(apart(of_rank[i].second, learned[i].second) <= 1e-11);
    }
    CHECK(held == (of_states.contains(learned[i].second.unsafeGetTensorImpl()) ? 1 : static_cast<int>(size)));
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

inline ResidualMLP made_mlp(std::uint64_t seed) { return residual_mlp(torch::kFloat64, seed); }
inline TransformerLM made_transformer(std::uint64_t seed) {
  torch::manual_seed(seed);
  return lively(TransformerLM({.vocabulary = 11, .context = 7, .width = 8, .heads = 2, .blocks = 3}), torch::kFloat64);
}

/// What the Errors of each rank say, with a short timeout.
template <class Action>
std::vector<std::string> said_in_ranks(std::int64_t size, const Action& action) {
  std::vector<std::string> said(static_cast<std::size_t>(size));
  const auto say = [&](const Ranks& group) {
    said[static_cast<std::size_t>(group->rank())] = error_of([&] { action(group); });
  };
  in_ranks(size, say, std::chrono::seconds(3));
  return said;
}

}  // namespace creditlib::test
