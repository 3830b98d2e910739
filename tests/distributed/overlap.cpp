// SPDX-License-Identifier: Apache-2.0
// What is sent while something else is computed.
#include <atomic>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/closed_form/detail/backward_work.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/detail/joint_mean.hpp>
#include <creditlib/distributed/block_trainer.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/trainer/gradient_sums.hpp>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../models.hpp"
#include "data_parallel_laws.hpp"
#include "ranks.hpp"
#include "support/flop.hpp"

using namespace creditlib;
using namespace creditlib::test;
using torch::nn::Linear;
using torch::nn::Sequential;
using torch::nn::Tanh;

namespace {

/// A matrix of it in float64 fills a message.
constexpr std::int64_t wide = 384;
static_assert(wide * wide * 8 >= creditlib::detail::GradientSums::message_bytes);

constexpr std::int64_t wide_blocks = 3;

ResidualMLP wide_model() {
  torch::manual_seed(1);
  ResidualMLP model({.input = 5, .width = wide, .classes = 4, .blocks = wide_blocks});
  model->to(torch::kFloat64);
  return model;
}
Batch wide_batch(std::int64_t rows) { return {torch::randn({rows, 5}, torch::kFloat64), torch::arange(rows) % 4}; }

struct Stop {};

/// Two processes, of which the other has nothing to add. Sums are begun and done in wait().
class LateGroup : public distributed::Group {
 public:
  std::int64_t rank() const override { return 0; }
  std::int64_t size() const override { return 2; }
  void sum(const std::vector<torch::Tensor>&) override {}
  void broadcast(const std::vector<torch::Tensor>&, std::int64_t) override {}
  void send(const torch::Tensor&, std::int64_t) override {}
  void receive(const torch::Tensor&, std::int64_t) override {}
  void barrier() override {}

  std::unique_ptr<distributed::Pending> begin_sum(const std::vector<torch::Tensor>& tensors) override {
    if (stops_at == begun.size()) throw Stop{};
    for (const auto& tensor : tensors) begun.push_back(tensor.numel());
    return creditlib::detail::deferred([this] { ++ended; });
  }

  std::vector<std::int64_t> begun;  ///< the numbers of each sum
  std::size_t ended = 0, stops_at = 1000;
};

/// The products of a step until it begins the sum of this number.
template <class Trainer>
double flop_until(std::size_t sum, LateGroup& group, Trainer& trainer) {
  const auto batch = wide_batch(6);
  group.begun.clear();
  group.stops_at = sum;
  const auto flop = bench::product_flop([&] {
    try {
      trainer.step(batch.x, batch.y);
    } catch (const Stop&) {
    }
  });
  return flop;
}

/// That a step sends several messages, all but the last while it has products left to do.
template <class Trainer>
void check_that_sums_begin_early(LateGroup& group, Trainer trainer) {
  const auto whole = flop_until(1000, group, trainer);
  const auto sums = group.begun.size();
  CHECK(sums > 2);
  CHECK(group.ended == sums);
  std::set<double> moments;
  for (std::size_t sum = 0; sum + 1 < sums; ++sum) moments.insert(flop_until(sum, group, trainer));
  CHECK(moments.size() == static_cast<std::size_t>(wide_blocks));  // of a block's matrices
  CHECK(*moments.rbegin() < whole);
}

}  // namespace

TEST_CASE("gradients are on their way while others are made, by any path", "[distributed]") {
  for (const auto path : {Path::Generic, Path::ClosedForm}) {
    INFO(static_cast<int>(path));
    const auto group = std::make_shared<LateGroup>();
    const TrainerOptions options{.path = path, .group = group};
    check_that_sums_begin_early(*group, BackpropTrainer(wide_model(), options));
    group->ended = 0;
    check_that_sums_begin_early(*group, LocalTrainer(wide_model(), DFA{}, options));
  }
  const auto group = std::make_shared<LateGroup>();
  const TrainerOptions sparing{.memory = Memory::Constant, .group = group};
  check_that_sums_begin_early(*group, LocalTrainer(wide_model(), DFA{}, sparing));
}

TEST_CASE("messages that leave early are the gradients of the whole batch", "[distributed][law]") {
  const auto batch = wide_batch(rank_rows);
  const auto hold = [&](const auto& made) {
    auto alone = made(wide_model(), nullptr);
    for (int step = 0; step < 4; ++step) alone.step(batch.x, batch.y);
    const auto expected = all_tensors(alone);
    std::vector<ResidualMLP> models{wide_model(), wide_model(), wide_model()};
    std::vector<std::vector<torch::Tensor>> found(3);
    in_ranks(3, [&](const GroupPtr& group) {
      const auto at = static_cast<std::size_t>(group->rank());
      auto trainer = made(models[at], group);
      const auto own = rows_of_rank(batch, *group);
      for (int step = 0; step < 4; ++step) trainer.step(own.x, own.y);
      found[at] = all_tensors(trainer);
    });
    for (const auto& tensors : found) {
      REQUIRE(tensors.size() == expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        CHECK(largest_difference(tensors[i], expected[i]) <= 1e-11);
        CHECK(torch::equal(tensors[i], found[0][i]));
      }
    }
  };
  for (const auto path : {Path::Generic, Path::ClosedForm}) {
    hold([&](const ResidualMLP& model, GroupPtr group) {
      return BackpropTrainer(model, {.path = path, .group = std::move(group)});
    });
    hold([&](const ResidualMLP& model, GroupPtr group) {
      return LocalTrainer(model, DFA{}, {.path = path, .group = std::move(group)});
    });
  }
  hold([&](const ResidualMLP& model, GroupPtr group) {
    return LocalTrainer(model, DFA{}, {.memory = Memory::Constant, .group = std::move(group)});
  });
}

TEST_CASE("a gradient that several parts add to is sent when it is whole", "[distributed]") {
  const Linear shared(wide, wide), other(wide, wide);
  SequentialBlocks model(
      {.embed = Sequential(other),
       .blocks = {Sequential(shared, Tanh()), Sequential(Linear(wide, wide), Tanh()), Sequential(shared, Tanh())},
       .readout = Sequential(Linear(wide, 4)),
       .example = torch::zeros({1, wide})});
  model->to(torch::kFloat64);
  const Batch batch{torch::randn({6, wide}, torch::kFloat64), torch::arange(6) % 4};
  const auto group = std::make_shared<LateGroup>();
  const auto check = [&](const auto& made) {
    const auto expected = made(nullptr).gradients(batch.x, batch.y);
    const auto found = made(group).gradients(batch.x, batch.y);
    for (std::size_t i = 0; i < expected.size(); ++i) CHECK(largest_difference(found[i], expected[i]) <= 1e-12);
    CHECK(group->begun.size() > 2);
  };

  check([&](const GroupPtr& with) { return BackpropTrainer(model, {.group = with}); });
  check([&](const GroupPtr& with) { return LocalTrainer(model, DFA{}, {.group = with}, Raw{}); });
}

TEST_CASE("what listens to a backward pass leaves no hook on a parameter", "[distributed]") {
  const auto model = stages(Kind::plain);
  const auto batch = batch_for(Kind::plain);
  BackpropTrainer trainer(model, {.path = Path::Generic, .group = std::make_shared<LateGroup>()});
  for (int step = 0; step < 3; ++step) trainer.step(batch.x, batch.y);
  for (const auto& parameter : model->parameters()) CHECK(torch::autograd::impl::hooks(parameter).empty());

  const auto failing = std::make_shared<LateGroup>();
  BackpropTrainer stopped(model, {.path = Path::Generic, .group = failing});
  failing->stops_at = 0;
  CHECK_THROWS_AS(stopped.step(batch.x, batch.y), Stop);
  for (const auto& parameter : model->parameters()) CHECK(torch::autograd::impl::hooks(parameter).empty());
}

TEST_CASE("a milestone of backward work comes after all sums before it, and before those after it", "[distributed]") {
  for (const std::int64_t shares : {1, 3}) {
    creditlib::detail::BackwardWork work;
    std::atomic<int> first = 0, second = 0;
    std::vector<int> seen;
    for (int i = 0; i < 3; ++i) work.add_sum(1, [&](const creditlib::detail::Share&) { ++first; });
    work.add_milestone([&] { seen.push_back(shares == 1 ? first + second : first.load()); });
    work.add_sum(1e6, [&](const creditlib::detail::Share& share) { second += share.index == 0 ? 1 : 0; });
    work.add_milestone([&] { seen.push_back(second); });
    work.run(shares);
    CHECK(seen == std::vector<int>{3, 1});
  }
}

TEST_CASE("means leave in messages as soon as these are large enough", "[distributed]") {
  LateGroup group;
  creditlib::detail::JointMean joint(group, 3, torch::TensorOptions(torch::kFloat64), /*at_least=*/8 * 10);
  const auto one = torch::full({4}, 1.0, torch::kFloat64), two = torch::full({2, 4}, 2.0, torch::kFloat64);
  joint.add(one, one);
  CHECK(group.begun.empty());
  joint.add(two, two);
  CHECK(group.begun == std::vector<std::int64_t>{12 + 2 + 1});  // with which are defined, and the samples
  joint.add({}, one);
  joint.add(one, one);
  CHECK(group.begun.size() == 1);
  std::vector<torch::Tensor> totals{torch::full({}, 7.0, torch::kFloat64)}, means(4);

  const auto all = joint.finish(totals, [&](std::size_t i, const torch::Tensor& mean) { means[i] = mean; });

  CHECK(group.begun.back() == 8 + 2 + 1);
  CHECK(all.item<double>() == 3);
  CHECK(totals[0].item<double>() == 7);
  CHECK(torch::equal(means[0], one));
  CHECK(torch::equal(means[1], two));
  CHECK_FALSE(means[2].defined());
  CHECK(torch::equal(means[3], one));
}

namespace {

/// A group that notes when its rank's calls begin and end.
class NotingGroup final : public distributed::Group {
 public:
  explicit NotingGroup(GroupPtr group) : group_(std::move(group)) {}

  std::int64_t rank() const override { return group_->rank(); }
  std::int64_t size() const override { return group_->size(); }
  void sum(const std::vector<torch::Tensor>& tensors) override { group_->sum(tensors); }
  void broadcast(const std::vector<torch::Tensor>& tensors, std::int64_t from) override {
    notes += "logits ";
    group_->broadcast(tensors, from);
  }
  void send(const torch::Tensor& tensor, std::int64_t to) override { group_->send(tensor, to); }
  void receive(const torch::Tensor& tensor, std::int64_t from) override { group_->receive(tensor, from); }
  void barrier() override { group_->barrier(); }
  std::unique_ptr<distributed::Pending> begin_send(const torch::Tensor& tensor, std::int64_t to) override {
    return noted("send ", "sent ", group_->begin_send(tensor, to));
  }
  std::unique_ptr<distributed::Pending> begin_receive(const torch::Tensor& tensor, std::int64_t from) override {
    return noted("receive ", "received ", group_->begin_receive(tensor, from));
  }

  std::string notes;

 private:
  std::unique_ptr<distributed::Pending> noted(const char* begun, const char* ended,
                                              std::shared_ptr<distributed::Pending> call) {
    notes += begun;
    return creditlib::detail::deferred([this, ended, call] {
      call->wait();
      notes += ended;
    });
  }
  GroupPtr group_;
};

}  // namespace

TEST_CASE("micro-batches are on their way while others are computed", "[distributed]") {
  const auto batch = batch_for(Kind::plain);
  std::vector<SequentialBlocks> models{stages(Kind::plain), stages(Kind::plain)};
  std::vector<std::string> notes(2);

  in_ranks(2, [&](const GroupPtr& threads) {
    const auto at = static_cast<std::size_t>(threads->rank());
    const auto group = std::make_shared<NotingGroup>(threads);
    distributed::BlockTrainer trainer(models[at], DFA{}, {.group = group}, {.micro_batches = 3});
    trainer.step(batch.x, batch.y);  // the first compares the ranks' batches
    group->notes.clear();
    trainer.step(batch.x, batch.y);
    notes[at] = group->notes;
  });

  CHECK(notes[0] == "send send send logits sent sent sent ");
  CHECK(notes[1] == "receive receive receive received received received logits ");
}
