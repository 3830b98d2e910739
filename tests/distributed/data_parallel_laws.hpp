// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/distributed/detail/agreement.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/named_tensors.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../models.hpp"
#include "ranks.hpp"

/// The laws of training in several processes, each with rows of its own: of every rule.
namespace creditlib::test {

using GroupPtr = std::shared_ptr<distributed::Group>;

inline constexpr std::uint64_t rank_steps = 24;
inline constexpr std::int64_t rank_rows = 7;

/// The rows of a batch that are this rank's: uneven ones.
inline Batch rows_of_rank(const Batch& batch, const distributed::Group& group) {
  const auto first = group.rank() * rank_rows / group.size(), end = (group.rank() + 1) * rank_rows / group.size();
  return {batch.x.narrow(0, first, end - first), batch.y.narrow(0, first, end - first)};
}

inline double largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

struct RankRun {
  std::vector<torch::Tensor> tensors;  ///< the model's and the credit source's after all steps
  std::vector<std::string> bits;       ///< a text of all of them after each step
  std::vector<double> losses;
  std::vector<std::int64_t> correct;
};

template <class Model>
std::vector<torch::Tensor> tensors_of(const Model& model) {
  std::vector<torch::Tensor> tensors;
  for (const auto& parameter : model->parameters()) tensors.push_back(parameter.detach().clone());
  for (const auto& buffer : model->buffers()) tensors.push_back(buffer.clone());
  return tensors;
}

/// Made before the threads of ranks begin, since it draws from LibTorch's global generator.
inline std::vector<Batch> batches_for(Kind kind) {
  std::vector<Batch> batches;
  for (std::uint64_t step = 0; step < rank_steps; ++step)
    batches.push_back(batch_for(kind, torch::kFloat64, rank_rows, 100 + step));
  return batches;
}

/// The tensors of a trainer's credit source, or of the two of a Mix.
template <class Trainer>
std::vector<torch::Tensor> source_tensors(const Trainer& trainer) {
  NamedTensors named;
  const auto add = [&](const auto& state) {
    if constexpr (requires { state.named_tensors(); }) {
      for (auto& entry : state.named_tensors()) named.push_back(entry);
    }
  };
  if constexpr (requires { trainer.state().second; }) {
    add(trainer.state().first);
    add(trainer.state().second);
  } else if constexpr (requires { trainer.state(); }) {
    add(trainer.state());
  }
  std::vector<torch::Tensor> tensors;
  for (const auto& [name, tensor] : named) {
    if (tensor.defined()) tensors.push_back(tensor.detach().clone());
  }
  return tensors;
}
template <class Trainer>
std::vector<torch::Tensor> all_tensors(const Trainer& trainer) {
  auto tensors = tensors_of(trainer.model());
  for (auto& tensor : source_tensors(trainer)) tensors.push_back(std::move(tensor));
  return tensors;
}

template <class Trainer>
RankRun run_of(Trainer& trainer, const std::vector<Batch>& batches, const distributed::Group& group) {
  RankRun run;
  for (std::size_t step = 0; step < batches.size(); ++step) {
    const auto [x, y] = rows_of_rank(batches[step], group);
    const auto result = trainer.step(x, y);
    run.losses.push_back(result.loss.template item<double>());
    run.correct.push_back(result.correct.template item<std::int64_t>());
    std::string bits;
    for (const auto& tensor : all_tensors(trainer)) bits += creditlib::detail::fact_of(tensor) + "\n";
    run.bits.push_back(std::move(bits));
    if (step == 11) trainer.end_epoch();
  }
  run.tensors = all_tensors(trainer);
  return run;
}

/// Law 1 and law 2: `made(model, options)` is a trainer.
template <class MakeModel, class Made>
void hold_the_laws(const MakeModel& make_model, Kind kind, TrainerOptions options, const Made& made,
                   std::int64_t size) {
  const auto model_of = [&](std::uint64_t seed) { return make_model(torch::kFloat64, seed); };
  options.epochs = 3;
  const auto batches = batches_for(kind);
  auto alone = made(model_of(1), options);
  const RankRun expected = run_of(alone, batches, *distributed::alone());
  std::vector<decltype(model_of(1))> models;
  for (std::int64_t rank = 0; rank < size; ++rank) models.push_back(model_of(static_cast<std::uint64_t>(rank + 1)));
  std::vector<RankRun> runs(static_cast<std::size_t>(size));

  in_ranks(size, [&](const GroupPtr& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    auto own = options;
    own.group = group;
    auto trainer = made(models[at], own);  // of other weights than rank 0's, which it is to get
    runs[at] = run_of(trainer, batches, *group);
  });

  for (const auto& run : runs) {
    REQUIRE(run.tensors.size() == expected.tensors.size());
    for (std::size_t i = 0; i < expected.tensors.size(); ++i) {
      CHECK(largest_difference(run.tensors[i], expected.tensors[i]) <= 1e-11);
    }
    CHECK((run.bits == runs[0].bits));
    for (std::size_t step = 0; step < run.losses.size(); ++step) {
      CHECK(run.losses[step] == Approx(expected.losses[step]).epsilon(1e-10));
      CHECK(run.correct[step] == expected.correct[step]);
    }
  }
}

template <class Made>
void hold_the_laws(Kind kind, const TrainerOptions& options, const Made& made, std::int64_t size = 3) {
  const auto make_model = [&](torch::Dtype dtype, std::uint64_t seed) { return stages(kind, dtype, seed); };
  hold_the_laws(make_model, kind, options, made, size);
}

template <class Rule, class... Policies>
void hold_the_laws_of(const Rule& rule, Kind kind, const TrainerOptions& options, const Policies&... policies) {
  hold_the_laws(kind, options, [&](SequentialBlocks model, const TrainerOptions& own) {
    return LocalTrainer(std::move(model), rule, own, policies...);
  });
}

/// Counts calls, and what they are given.
class CountingGroup final : public distributed::Group {
 public:
  explicit CountingGroup(std::int64_t size) : size_(size) {}

  std::int64_t rank() const override { return 0; }
  std::int64_t size() const override { return size_; }
  void sum(const std::vector<torch::Tensor>& tensors) override {
    ++sums;
    for (const auto& tensor : tensors) numbers += tensor.numel();
  }
  void broadcast(const std::vector<torch::Tensor>&, std::int64_t) override { ++others; }
  void send(const torch::Tensor&, std::int64_t) override { ++others; }
  void receive(const torch::Tensor&, std::int64_t) override { ++others; }
  void barrier() override { ++others; }

  std::int64_t sums = 0, numbers = 0, others = 0;

 private:
  std::int64_t size_;
};

}  // namespace creditlib::test
