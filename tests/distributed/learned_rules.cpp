// SPDX-License-Identifier: Apache-2.0
// Rules that learn from rows, draw per sample or settle, trained in several processes. Those that keep LibTorch's global
// generators to themselves while they run a network (scope::Untouched) are tested here on networks with a closed form
// alone, since ranks are threads that would wait for each other; in training.cpp they are processes.
#include <creditlib/bind_context.hpp>
#include <creditlib/credit/decoupled_greedy.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/forward_dfa.hpp>
#include <creditlib/credit/forward_gradient.hpp>
#include <creditlib/credit/grape.hpp>
#include <creditlib/credit/local_error_signals.hpp>
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/mono_forward.hpp>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/credit/value_net.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/distributed/gather.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/statistics/seeded.hpp>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "../models.hpp"
#include "data_parallel_laws.hpp"
#include "ranks.hpp"
#include "remembering_head.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// RememberingHead, of what is the same in all processes.
struct CountingHead : RememberingHead {
  torch::Tensor loss(Net& net, const torch::Tensor& h, const Trace& trace) const {
    net->seen.add_(1);
    return trace.loss(net->second->forward(net->first->forward(h).tanh()));
  }
};

/// Brings the features of samples of one class together, and of others apart.
struct ComparingHead {
  static constexpr bool couples_samples = true, data_parallel = true;

  struct NetImpl : torch::nn::Module {
    explicit NetImpl(const HeadInput& input)
        : linear(register_module("linear", torch::nn::Linear(input.features(), 4))), group(input.group) {}
    torch::nn::Linear linear;
    GroupPtr group;
  };
  TORCH_MODULE(Net);

  Net module(const HeadInput& input) const { return Net(input); }
  torch::Tensor loss(Net& net, const torch::Tensor& h, const Trace& trace) const {
    const auto samples = distributed::gather(*net->group, {net->linear->forward(h).tanh(), trace.target});
    const auto same = samples.all[1].unsqueeze(0).eq(samples.all[1].unsqueeze(1)).to(h.scalar_type());
    return distributed::own_losses(samples, (samples.all[0].mm(samples.all[0].t()) - same).square().mean(1));
  }
};

BindContext context_of(std::shared_ptr<distributed::Group> group = distributed::alone()) {
  return {.device = torch::kCPU,
          .dtype = torch::kFloat64,
          .generator = statistics::seeded(3, 0),
          .group = std::move(group)};
}

}  // namespace

TEST_CASE("several processes train as one does with all rows: nets that give credit", "[distributed][law]") {
  hold_the_laws_of(Vec{.directions = 2, .hidden = 8, .layers = 2, .time = 4}, Kind::plain, {});
  hold_the_laws_of(Vec{.relative = true, .hidden = 8, .layers = 2, .time = 4}, Kind::no_embed, {.path = Path::Generic});
  hold_the_laws_of(ValueNet{.sigma = 0.3, .ema = 0.9, .lr = 1e-2, .hidden = 8, .layers = 2, .time = 4}, Kind::plain,
                   {.clip_norm = 0.1});
  hold_the_laws_of(ValueNet{.terminal_gradient_weight = 1, .clip = 1e-3, .hidden = 8, .layers = 2, .time = 4},
                   Kind::tokens, {});
  hold_the_laws_of(StatePredictor{.lr = 1e-2, .clip = 0.01, .hidden = 8, .time = 4}, Kind::no_embed, {});
}

TEST_CASE("several processes train as one does with all rows: direct feedback that learns", "[distributed][law]") {
  hold_the_laws_of(DirectKolenPollack{.lr = 1e-2, .decay = 0.1}, Kind::plain, {});
  hold_the_laws_of(DirectKolenPollack{.start = FeedbackStart::Random}, Kind::tokens, {.path = Path::Generic});
  hold_the_laws_of(ForwardDFA{.lr = 1e-2}, Kind::tokens, {});
  hold_the_laws_of(ForwardDFA{.lr = 0.1, .optimizer = Optimizer::SGD}, Kind::no_embed, {});
  hold_the_laws_of(GrAPE{}, Kind::plain, {});
}

TEST_CASE("several processes train as one does with all rows: heads", "[distributed][law]") {
  hold_the_laws_of(LocalHeads<CountingHead>{.lr = 1e-2, .weight_decay = 0.1}, Kind::plain, {});
  hold_the_laws_of(LocalHeads<CountingHead>{.last_from_readout = true}, Kind::no_embed, {});
  hold_the_laws_of(MonoForward{.lr = 1e-2}, Kind::tokens, {});
  hold_the_laws_of(DecoupledGreedy{.batch_norm = false, .lr = 1e-2}, Kind::plain, {});
}

TEST_CASE("several processes train as one does with all rows: heads that compare samples", "[distributed][law]") {
  hold_the_laws_of(LocalHeads<ComparingHead>{.lr = 1e-2}, Kind::plain, {});
  for (const double beta : {0.0, 0.9, 1.0})
    hold_the_laws_of(LocalErrorSignals{.beta = beta, .lr = 1e-2}, Kind::plain, {});
  hold_the_laws_of(LocalErrorSignals{}, Kind::no_embed, {.path = Path::Generic});
  // Deviations over positions do not see a bias, whose gradient is rounding alone; AdamW would make steps of it.
  hold_the_laws_of(LocalErrorSignals{.beta = 1}, Kind::tokens, {.optimizer = Optimizer::SGD});
}

TEST_CASE("several processes train as one does with all rows: draws per sample", "[distributed][law]") {
  hold_the_laws_of(ForwardGradient{.directions = 3}, Kind::plain, {});
  hold_the_laws_of(ForwardGradient{}, Kind::tokens, {});
  hold_the_laws_of(Mix{ForwardGradient{}, StatePredictor{.hidden = 8, .time = 4}}, Kind::plain, {}, Blend{});
}

TEST_CASE("several processes train as one does with all rows: states that settle", "[distributed][law]") {
  hold_the_laws_of(EquilibriumPropagation{.steps = 4}, Kind::plain, {});
  hold_the_laws_of(EquilibriumPropagation{.steps = 3, .inner_mean = true, .outer_sum = true}, Kind::no_embed, {});
  hold_the_laws_of(EquilibriumPropagation{.steps = 3, .rate = 0.5, .centered = true, .inner_mean = true}, Kind::plain,
                   {});
}

TEST_CASE("buffers of heads are rank 0's on all ranks", "[distributed]") {
  std::vector<SequentialBlocks> models{stages(Kind::plain), stages(Kind::plain)};
  const auto batch = batch_for(Kind::plain);
  std::vector<std::vector<torch::Tensor>> buffers(2);

  in_ranks(2, [&](const GroupPtr& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    LocalTrainer trainer(models[at], LocalHeads<RememberingHead>{}, {.group = group});
    const auto [x, y] = rows_of_rank(batch, *group);
    trainer.step(x, y);
    trainer.end_epoch();
    buffers[at] = copies(trainer.state().nets.buffers());
  });

  CHECK(buffers[0][0].abs().max().item<double>() > 0);
  CHECK(same(buffers[0], buffers[1]));
}

TEST_CASE("what a rule learns and draws in several processes costs messages; in one there are none", "[distributed]") {
  const auto sums_of = [](const auto& rule, std::int64_t size) {
    const auto [x, y] = batch_for(Kind::plain);
    const auto group = std::make_shared<CountingGroup>(size);
    LocalTrainer trainer(stages(Kind::plain), rule, {.group = group});
    group->sums = group->others = 0;
    for (int step = 0; step < 3; ++step) trainer.step(x, y);
    CHECK(group->others == 0);
    return group->sums;
  };

  CHECK(sums_of(StatePredictor{}, 2) == 3 * 2);
  CHECK(sums_of(DirectKolenPollack{}, 2) == 3 * 2);
  CHECK(sums_of(ForwardDFA{}, 2) == 3 * 3);
  CHECK(sums_of(ForwardGradient{.directions = 4}, 2) == 3 * 2);
  CHECK(sums_of(LocalErrorSignals{.beta = 0}, 2) == 3 * 2);
  CHECK(sums_of(LocalErrorSignals{}, 2) == 3 * (2 + 2 * 4));  // a head on each of h_0..h_3
  CHECK(sums_of(LocalErrorSignals{}, 1) == 0);
  CHECK(sums_of(Vec{}, 1) == 0);
  CHECK(sums_of(ForwardDFA{}, 1) == 0);
  CHECK(sums_of(MonoForward{}, 1) == 0);
}

TEST_CASE("what is gathered has the rows of all ranks, and gradients reach a rank's own", "[distributed]") {
  const std::vector<std::int64_t> counts{1, 3, 2};
  const auto every = torch::arange(12, torch::kFloat64).view({6, 2});
  std::vector<std::int64_t> first(3);
  std::vector<torch::Tensor> all(3), labels(3), gradients(3);

  in_ranks(3, [&](const GroupPtr& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    const auto begin = std::accumulate(counts.begin(), counts.begin() + group->rank(), std::int64_t{0});
    const auto own = every.narrow(0, begin, counts[at]).clone().requires_grad_();
    const auto found = distributed::gather(*group, {own, torch::full({counts[at]}, group->rank(), torch::kInt64)});
    gradients[at] = torch::autograd::grad({found.all[0].square().sum()}, {own})[0];
    all[at] = found.all[0].detach();
    labels[at] = found.all[1];
    first[at] = found.first;
  });

  CHECK(first == std::vector<std::int64_t>{0, 1, 4});
  for (std::size_t at = 0; at < 3; ++at) {
    CHECK(all[at].equal(every));
    CHECK(labels[at].equal(torch::tensor({0, 1, 1, 1, 2, 2}, torch::kInt64)));
    CHECK(gradients[at].equal(2 * every.narrow(0, first[at], counts[at])));
  }
  const auto alone = distributed::gather(*distributed::alone(), {every});
  CHECK((alone.all[0].is_same(every) && alone.first == 0));
}

// ---- BindContext ----

TEST_CASE("draws per sample are those of one process", "[distributed]") {
  const auto alone = context_of();
  const auto every = alone.sample_range(6);
  CHECK((every.first == 0 && every.count == 6 && every.all == 6));
  const auto rows = alone.sample_randn({6, 3}, every, 0, 2.0), columns = alone.sample_randn({2, 6}, every, 1);
  const auto next = alone.randn({2});
  const std::vector<std::int64_t> counts{1, 3, 2}, first{0, 1, 4};

  in_ranks(3, [&](const GroupPtr& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    const auto context = context_of(group);
    const auto range = context.sample_range(counts[at]);
    const bool placed = range.first == first[at] && range.count == counts[at] && range.all == 6;
    const bool drawn =
        context.sample_randn({counts[at], 3}, range, 0, 2.0).equal(rows.narrow(0, first[at], counts[at])) &&
        context.sample_randn({2, counts[at]}, range, 1).equal(columns.narrow(1, first[at], counts[at])) &&
        context.randn({2}).equal(next);
    if (!placed || !drawn) throw Error("rank " + std::to_string(group->rank()) + " has other numbers");
  });
  CHECK(says(error_of([&] { (void)alone.sample_randn({5, 3}, every); }),
             {"BindContext::sample_randn", "dimension 0 of (5, 3)", "6 samples"}));
}

TEST_CASE("means are of the samples of all processes", "[distributed]") {
  const std::vector<std::int64_t> counts{1, 3};
  const auto full = [](double value, torch::Dtype dtype = torch::kFloat64) { return torch::full({2}, value, dtype); };
  std::vector<std::vector<torch::Tensor>> found(2);
  std::vector<std::string> said(2);

  in_ranks(2, [&](const GroupPtr& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    const auto context = context_of(group);
    auto& means = found[at];
    means = {full(at == 0 ? 4 : 8), at == 0 ? full(4) : torch::Tensor(), torch::Tensor()};
    context.mean(means, counts[at], {full(0), full(0), full(0)});
    std::vector<torch::Tensor> plain{full(at == 0 ? 1 : 5), torch::Tensor()};
    context.mean(plain, counts[at]);
    means.push_back(plain[0]);
    std::vector<torch::Tensor> other{full(1, torch::kFloat32)};
    said[at] = error_of([&] { context.mean(other, 1); });
  });

  for (std::size_t at = 0; at < 2; ++at) {
    CHECK(found[at][0].equal(full(7)));
    CHECK(found[at][1].equal(full(1)));
    CHECK_FALSE(found[at][2].defined());
    CHECK(found[at][3].equal(full(4)));
    CHECK(says(said[at], {"BindContext::mean", "float32", "expected float64"}));
  }
  std::vector<torch::Tensor> alone{full(4), torch::Tensor()};
  context_of().mean(alone, 3);
  CHECK(alone[0].equal(full(4)));
}
