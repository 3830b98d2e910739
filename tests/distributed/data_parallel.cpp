// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/decoupled_greedy.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_feedback.hpp>
#include <creditlib/credit/drtp.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/kolen_pollack.hpp>
#include <creditlib/credit/layer_fa.hpp>
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/credit/low_rank_feedback.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/sign_symmetry.hpp>
#include <creditlib/credit/weight_mirror.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/schedule/blend.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../rules.hpp"
#include "../temporary_folder.hpp"
#include "data_parallel_laws.hpp"
#include "ranks.hpp"
#include "remembering_head.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("several processes train as one does with all rows: direct rules", "[distributed][law]") {
  hold_the_laws_of(DFA{}, Kind::plain, {});
  hold_the_laws_of(DFA{.signal = Signal::Sign}, Kind::no_embed, {.path = Path::Generic});
  hold_the_laws_of(DRTP{}, Kind::tokens, {.clip_norm = 0.01});
  hold_the_laws_of(FA{}, Kind::plain, {.clip_norm = 0.1, .clip_scope = ClipScope::All});
  hold_the_laws_of(Oracle{}, Kind::tokens, {.optimizer = Optimizer::SGD});
  hold_the_laws_of(TargetProjection{}, Kind::plain, {}, PenalizedInnerProduct{.lambda = 0.1});
  hold_the_laws_of(Mix{DFA{}, FA{}}, Kind::plain, {}, Blend{});
}

TEST_CASE("several processes train as one does with all rows: transported feedback", "[distributed][law]") {
  hold_the_laws_of(LayerFA{}, Kind::plain, {});
  hold_the_laws_of(SignSymmetry{.magnitude = Magnitude::Redrawn}, Kind::plain, {});
  hold_the_laws_of(KolenPollack{}, Kind::plain, {.path = Path::Generic});
  hold_the_laws_of(WeightMirror{}, Kind::plain, {});
  hold_the_laws_of(LowRankFeedback{.rank = 2}, Kind::plain, {});
}

TEST_CASE("several processes train as one does with all rows: credit as factors", "[distributed][law]") {
  const auto wide = [](torch::Dtype dtype, std::uint64_t seed) {  // so wide that factors have fewer numbers
    torch::manual_seed(seed);
    return lively(ResidualMLP({.input = 6, .width = 12, .classes = small_classes, .blocks = 3}), dtype);
  };
  const auto hold = [&](const TrainerOptions& options, const auto& rule, const auto&... policies) {
    const auto made = [&](ResidualMLP model, const TrainerOptions& own) {
      return LocalTrainer(std::move(model), rule, own, policies...);
    };
    hold_the_laws(wide, Kind::residual_mlp, options, made, 3);
  };
  hold({}, DFA{});
  hold({.clip_norm = 0.1}, DFA{}, Raw{});
  hold({.memory = Memory::Constant}, DFA{});
  hold({.optimizer = Optimizer::SGD}, DRTP{});
}

TEST_CASE("several processes train as one does with all rows: back-propagation", "[distributed][law]") {
  const auto made = [](SequentialBlocks model, const TrainerOptions& options) {
    return BackpropTrainer(std::move(model), options, CrossEntropy{}, 0.01);
  };
  hold_the_laws(Kind::plain, {.clip_norm = 0.1}, made, 2);
  hold_the_laws(Kind::tokens, {}, made);
}

TEST_CASE("running statistics are rank 0's on all ranks", "[distributed]") {
  std::vector<std::vector<torch::Tensor>> tensors(2);
  std::vector<SequentialBlocks> models{stages(Kind::batch_norm), stages(Kind::batch_norm, torch::kFloat32, 2)};
  std::vector<Batch> batches;
  for (std::uint64_t i = 0; i < 10; ++i) batches.push_back(batch_for(Kind::batch_norm, torch::kFloat32, 6, i));

  in_ranks(2, [&](const GroupPtr& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    LocalTrainer trainer(models[at], DFA{}, {.group = group});
    for (std::size_t step = 0; step < 5; ++step) trainer.step(batches[2 * step + at].x, batches[2 * step + at].y);
    trainer.end_epoch();
    tensors[at] = tensors_of(trainer.model());
  });

  for (std::size_t i = 0; i < tensors[0].size(); ++i) CHECK(torch::equal(tensors[0][i], tensors[1][i]));
}

TEST_CASE("a loop of one's own sums the gradients too", "[distributed]") {
  const auto all = batch_for(Kind::plain, torch::kFloat64, rank_rows);
  LocalTrainer alone(stages(Kind::plain, torch::kFloat64), DFA{}, {.clip_norm = 0.05});
  alone.backward(all.x, all.y);
  std::vector<SequentialBlocks> models{stages(Kind::plain, torch::kFloat64), stages(Kind::plain, torch::kFloat64)};

  in_ranks(2, [&](const GroupPtr& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    LocalTrainer trainer(models[at], DFA{}, {.clip_norm = 0.05, .group = group});
    const auto [x, y] = rows_of_rank(all, *group);
    trainer.backward(x, y);
    trainer.end_step();
  });

  for (const auto& model : models) {
    for (std::size_t i = 0; i < model->parameters().size(); ++i) {
      const auto expected = alone.model()->parameters()[i].grad(), found = model->parameters()[i].grad();
      CHECK(largest_difference(found, expected) <= 1e-13);
    }
  }
}

TEST_CASE("a checkpoint of two processes goes on in one and in three", "[distributed]") {
  const TemporaryFolder folder;
  const auto batches = batches_for(Kind::plain);
  const auto go_on = [&](LocalTrainer<SequentialBlocks, DFA>& trainer, const distributed::Group& group) {
    trainer.load(folder.path() / "run.pt");
    run_of(trainer, batches, group);
    return tensors_of(trainer.model());
  };
  std::vector<SequentialBlocks> models;
  for (int i = 0; i < 3; ++i) models.push_back(stages(Kind::plain, torch::kFloat64));
  in_ranks(2, [&](const GroupPtr& group) {
    LocalTrainer trainer(models[static_cast<std::size_t>(group->rank())], DFA{}, {.epochs = 9, .group = group});
    run_of(trainer, batches, *group);
    if (group->rank() == 0) trainer.save(folder.path() / "run.pt");
  });

  LocalTrainer alone(stages(Kind::plain, torch::kFloat64, 5), DFA{}, {.epochs = 9});
  const auto expected = go_on(alone, *distributed::alone());
  std::vector<std::vector<torch::Tensor>> found(3);
  in_ranks(3, [&](const GroupPtr& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    LocalTrainer trainer(models[at], DFA{}, {.epochs = 9, .group = group});
    found[at] = go_on(trainer, *group);
  });

  for (const auto& tensors : found) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CHECK(largest_difference(tensors[i], expected[i]) <= 1e-11);
    }
  }
}

// ---- What is refused ----

namespace {

/// A head that compares the samples of a batch and says nothing of several processes.
struct CouplingHead : RememberingHead {
  static constexpr bool couples_samples = true;
};

/// A learner that says nothing of several processes.
struct Forgetting {
  static constexpr const char* rule = "Forgetting";
  struct State {
    template <class Model>
    void learn(Model&, const Trace&, const std::vector<torch::Tensor>& feedback) const {
      for (const auto& B : feedback) torch::Tensor(B).mul_(0.5);
    }
  };
  State bind(const std::vector<torch::Tensor>&, const BindContext&) const { return {}; }
};

/// What each rank of two says when it makes its trainer.
template <class Make>
std::vector<std::string> said_by_two(const Make& make) {
  std::vector<std::string> said(2);
  in_ranks(2, [&](const GroupPtr& group) {
    said[static_cast<std::size_t>(group->rank())] = error_of([&] { make(group); });
  });
  return said;
}

}  // namespace

TEST_CASE("ranks that disagree say so before the first step", "[distributed]") {
  std::vector<SequentialBlocks> models{stages(Kind::plain), stages(Kind::plain)};
  std::vector<SequentialBlocks> of_two_kinds{stages(Kind::plain), stages(Kind::batch_norm)};
  const auto model_of = [&](const GroupPtr& group) { return models[static_cast<std::size_t>(group->rank())]; };
  const auto check = [](const std::vector<std::string>& said, std::initializer_list<std::string> parts) {
    CHECK(says(said[0], parts));
    CHECK(said[1] == said[0]);
  };

  check(said_by_two([&](const GroupPtr& group) {
          const double lr = group->rank() == 0 ? 0.01 : 0.1;
          LocalTrainer(model_of(group), DFA{}, {.lr = lr, .group = group});
        }),
        {"do not agree", "TrainerOptions::lr is 0.1 on rank 1, and 0.01 on rank 0"});
  check(said_by_two([&](const GroupPtr& group) {
          if (group->rank() == 0) {
            LocalTrainer(model_of(group), DFA{}, {.group = group});
          } else {
            LocalTrainer(model_of(group), FA{}, {.group = group});
          }
        }),
        {"the trainer's type is", "on rank 1"});
  check(said_by_two([&](const GroupPtr& group) {
          auto feedback = DFA{}.bind(models[0], {torch::kCPU, torch::kFloat32, statistics::seeded(1, 0)}).feedback;
          if (group->rank() == 1) feedback[1] = feedback[1] * 2;
          LocalTrainer(model_of(group), DFA{.feedback = feedback}, {.group = group});
        }),
        {"credit.feedback.1 is", "on rank 1"});
  check(said_by_two([&](const GroupPtr& group) {
          BackpropTrainer(of_two_kinds[static_cast<std::size_t>(group->rank())], {.group = group});
        }),
        {"parameter "});
  check(said_by_two([&](const GroupPtr& group) {
          BackpropTrainer(model_of(group), {.group = group}, CrossEntropy{}, group->rank() == 0 ? 0.0 : 0.5);
        }),
        {"branch_penalty is 0.5 on rank 1"});
}

TEST_CASE("rules that would train on another state in each process are refused", "[distributed]") {
  std::vector<SequentialBlocks> models{stages(Kind::plain), stages(Kind::plain)};
  const auto said_of = [&](const auto& rule) {
    const auto said = said_by_two([&](const GroupPtr& group) {
      LocalTrainer(models[static_cast<std::size_t>(group->rank())], rule, {.group = group});
    });
    CHECK(said[0] == said[1]);
    return said[0];
  };

  CHECK(says(said_of(LearnedProjection{}),
             {"The credit source learns from the rows", "TrainerOptions::group", "one process"}));
  CHECK(says(said_of(DirectFeedback<Forgetting>{}), {"learns from the rows"}));
  CHECK(says(said_of(ProjectionAtScaledStates{}), {"trains at states of its own (local_inputs)"}));
  CHECK(says(said_of(LocalHeads<CouplingHead>{}),
             {"couples the samples of a batch (couples_samples)", "of LocalHeads the head", "distributed::gather"}));
  CHECK(says(said_of(DecoupledGreedy{}), {"BatchNorm in its heads", ".batch_norm = false"}));
  CHECK(says(said_of(NoisyProjection{}), {"credit is not const"}));
  const auto with_mix = said_by_two([&](const GroupPtr& group) {
    LocalTrainer(models[static_cast<std::size_t>(group->rank())], Mix{DFA{}, LearnedProjection{}}, {.group = group},
                 Blend{});
  });
  CHECK(says(with_mix[0], {"Credit source 1 of the Mix learns"}));

  const auto batch = batch_for(Kind::plain);
  for (const auto& said : said_by_two([&](const GroupPtr& group) {
         LocalTrainer trainer(models[static_cast<std::size_t>(group->rank())], HiddenDraws{}, {.group = group});
         trainer.step(batch.x, batch.y);
       })) {
    CHECK(says(said, {"draws random numbers in a step"}));
  }
  auto half = stages(Kind::plain, torch::kBFloat16);
  CHECK(says(said_by_two([&](const GroupPtr& group) { BackpropTrainer(half, {.group = group}); })[0],
             {"bfloat16", "float32 and float64"}));
}

TEST_CASE("ranks whose states have come apart say so at the end of the epoch", "[distributed]") {
  std::vector<SequentialBlocks> models{stages(Kind::plain), stages(Kind::plain)};
  const auto said = said_by_two([&](const GroupPtr& group) {
    LocalTrainer trainer(models[static_cast<std::size_t>(group->rank())], DFA{}, {.group = group});
    if (group->rank() == 1) {
      const torch::NoGradGuard no_grad;
      trainer.model()->parameters()[0].add_(1e-3);
    }
    trainer.end_epoch();
  });

  CHECK(says(said[0], {"do not agree", "model."}));
  CHECK(said[0] == said[1]);
}

// ---- What it costs ----

TEST_CASE("a step is one message; a group of one is never called", "[distributed]") {
  const auto [x, y] = batch_for(Kind::plain);
  for (const std::int64_t size : {1, 2}) {
    const auto group = std::make_shared<CountingGroup>(size);
    LocalTrainer trainer(stages(Kind::plain), DFA{}, {.group = group});
    const auto made = group->sums + group->others;
    group->sums = group->others = group->numbers = 0;

    for (int step = 0; step < 3; ++step) trainer.step(x, y);

    std::int64_t numbers = 0, parameters = 0;
    for (const auto& parameter : trainer.model()->parameters()) {
      numbers += parameter.numel();
      ++parameters;
    }
    CHECK((made == 0) == (size == 1));
    CHECK(group->sums == (size == 1 ? 0 : 3));
    CHECK(group->numbers == (size == 1 ? 0 : 3 * (numbers + parameters + 3)));
    CHECK(group->others == 0);
    trainer.end_epoch();
    CHECK((group->others == 0) == (size == 1));
  }
}

TEST_CASE("with credit as factors a step sends a quarter of the numbers, and as many for any batch", "[distributed]") {
  const auto numbers_sent = [](Path path, std::int64_t rows) {
    const auto group = std::make_shared<CountingGroup>(2);
    torch::manual_seed(1);
    LocalTrainer trainer(ResidualMLP({.input = 3072, .width = 256, .classes = 10, .blocks = 4}), DFA{},
                         {.path = path, .group = group});
    group->numbers = 0;
    trainer.step(torch::randn({rows, 3072}), torch::arange(rows) % 10);
    return group->numbers;
  };

  const auto dense = numbers_sent(Path::Generic, 8), factored = numbers_sent(Path::ClosedForm, 8);

  INFO(factored << " of " << dense);
  CHECK(4 * factored <= dense);
  CHECK(numbers_sent(Path::ClosedForm, 1) == factored);
  CHECK(numbers_sent(Path::ClosedForm, 512) == factored);
}
