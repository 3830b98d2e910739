// SPDX-License-Identifier: Apache-2.0
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/decoupled_greedy.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/local_error_signals.hpp>
#include <creditlib/credit/mono_forward.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/cuda/detail/basic_graphed_step.hpp>
#include <creditlib/local_trainer.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"
#include "any_model.hpp"
#include "fake_device.hpp"

using namespace creditlib;
using namespace creditlib::test;

// cuda::GraphedStep's logic with graphs that are really recorded and replayed.
namespace {

/// A device whose graphs are tapes: they repeat what the fake device did, on the memory that it did it on. Its lanes are
/// streams, and its graphs share a pool, as CUDA's do.
class TapeDevice {
 public:
  using Graph = fake_device::Graph;

  class Lane {
   public:
    explicit Lane(int pool) : pool_(pool), stream_(of_device().getStreamFromGlobalPool(fake_device::device())) {}

    template <class Action>
    auto eagerly(const Action& action) {
      const On on(stream_);
      return action();
    }
    template <class Action>
    std::unique_ptr<Graph> capture(const Action& action) {
      const On on(stream_);
      return fake_device::captured(pool_, action);
    }

   private:
    static c10::impl::VirtualGuardImpl of_device() { return c10::impl::VirtualGuardImpl(torch::kPrivateUse1); }
    static void follow(const c10::Stream& later, const c10::Stream& earlier) {
      c10::Event event(torch::kPrivateUse1);
      event.record(earlier);
      event.block(later);
    }

    class On {
     public:
      explicit On(const c10::Stream& stream)
          : stream_(stream), before_(of_device().getStream(fake_device::device())), guard_(stream) {
        follow(stream_, before_);
      }
      ~On() { follow(before_, stream_); }
      On(const On&) = delete;
      On& operator=(const On&) = delete;

     private:
      c10::Stream stream_, before_;
      c10::StreamGuard guard_;
    };

    int pool_;
    c10::Stream stream_;
  };

  Lane lane() const { return Lane(pool_); }

 private:
  int pool_ = fake_device::new_pool();
};

template <class Trainer>
using Taped = creditlib::detail::BasicGraphedStep<Trainer, TapeDevice>;

AnyModel here(Kind kind) {
  auto model =
      kind == Kind::residual_mlp ? any_model(residual_mlp(torch::kFloat64)) : any_model(stages(kind, torch::kFloat64));
  model->to(fake_device::device());
  return model;
}
Batch batch_here(Kind kind, std::int64_t size, std::uint64_t seed) {
  const auto [x, y] = batch_for(kind, torch::kFloat64, size, seed);
  return {x.to(fake_device::device()), y.to(fake_device::device())};
}

/// Four epochs of three batches and a short one.
template <class Trainer, class Step>
std::vector<torch::Tensor> taped_run(Trainer& trainer, Kind kind, const Step& step) {
  std::vector<torch::Tensor> seen;
  fake_device::seed(5);
  for (int epoch = 0; epoch < 4; ++epoch) {
    for (std::uint64_t i = 0; i < 4; ++i) {
      const auto [x, y] = batch_here(kind, i < 3 ? 7 : 4, 100 + i);
      const auto [loss, correct] = step(x, y);
      seen.push_back(loss.cpu());
      seen.push_back(correct.cpu());
      for (const auto& parameter : trainer.model()->parameters())
        seen.push_back(parameter.grad().defined() ? parameter.grad().cpu() : torch::zeros({}));
      torch::empty({4096}, fake_device::device());  // what is free meanwhile is used by others
    }
    trainer.end_epoch();
  }
  for (const auto& parameter : trainer.model()->parameters()) seen.push_back(parameter.detach().cpu());
  for (const auto& buffer : trainer.model()->buffers()) seen.push_back(buffer.cpu());
  return seen;
}

/// The largest difference, and the first tensor with one that is no rounding.
std::pair<double, std::size_t> apart(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  double most = 0;
  std::size_t first = a.size();
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto distance = (a[i] - b[i]).abs().max().item<double>();
    if (!(distance <= 1e-8)) first = std::min(first, i);
    most = distance <= most ? most : distance;
  }
  return {most, first};
}

template <class Make>
void check_taped(const std::string& name_of_case, Kind kind, const Make& make) {
  INFO(name_of_case << " on " << name(kind));
  auto plain = make(), other = make();
  const auto expected = taped_run(plain, kind, [&](const auto& x, const auto& y) { return plain.step(x, y); });
  Taped<decltype(other)> taped(other, {}, {.warm_up = 2});
  fake_device::clear();

  const auto found = taped_run(other, kind, [&](const auto& x, const auto& y) { return taped.step(x, y); });

  CHECK(fake_device::log().races == std::vector<std::string>{});
  CHECK(taped.captures() == 2);
  CHECK(taped.nodes() > 20);
  REQUIRE(found.size() == expected.size());
  const auto [most, first] = apart(found, expected);
  INFO("the first of " << found.size() << " that differs by more than 1e-8: " << first);
  CHECK(most < 1e-8);
}

}  // namespace

TEST_CASE("a graph of the fake device repeats what the device did, not what the host did", "[fake_device]") {
  const auto x = torch::ones({3}, fake_device::device());
  torch::Tensor y;
  int calls = 0;
  const auto graph = fake_device::captured(fake_device::new_pool(), [&] {
    y = x * 2 + ++calls;
    x.add_(1);
  });
  CHECK(y.isnan().all().cpu().item<bool>());  // captured work is not done
  CHECK(torch::equal(x.cpu(), torch::ones({3})));
  graph->replay();
  CHECK(torch::equal(y.cpu(), torch::full({3}, 3.0f)));
  graph->replay();
  CHECK(torch::equal(y.cpu(), torch::full({3}, 5.0f)));
  CHECK(torch::equal(x.cpu(), torch::full({3}, 3.0f)));
  CHECK(calls == 1);
  CHECK_THROWS(fake_device::captured(fake_device::new_pool(), [&] { x.sum().item<float>(); }));
  CHECK_THROWS(fake_device::captured(fake_device::new_pool(), [&] { x.cpu(); }));
}

TEST_CASE("runs with graphs that are replayed are those without", "[fake_device][cuda]") {
  const TrainerOptions formula{.clip_norm = 1.0, .epochs = 4, .path = Path::ClosedForm};
  const TrainerOptions autograd{.clip_norm = 1.0, .epochs = 4, .path = Path::Generic};
  check_taped("DFA by formula", Kind::residual_mlp,
              [&] { return LocalTrainer(here(Kind::residual_mlp), DFA{}, formula); });
  check_taped("DFA in constant memory", Kind::residual_mlp,
              [&] { return LocalTrainer(here(Kind::residual_mlp), DFA{}, {.epochs = 4, .memory = Memory::Constant}); });
  for (const auto kind : {Kind::residual_mlp, Kind::batch_norm, Kind::conv, Kind::tokens}) {
    check_taped("DFA by autograd", kind, [&] { return LocalTrainer(here(kind), DFA{}, autograd); });
    check_taped("FA by autograd", kind, [&] { return LocalTrainer(here(kind), FA{}, autograd); });
    check_taped("back-propagation by autograd", kind, [&] { return BackpropTrainer(here(kind), autograd); });
  }
  check_taped("oracle by formula", Kind::plain, [&] { return LocalTrainer(here(Kind::plain), Oracle{}, formula); });
  check_taped("back-propagation by formula", Kind::plain, [&] { return BackpropTrainer(here(Kind::plain), formula); });
}

TEST_CASE("runs of rules that learn on the device alone are those without graphs", "[fake_device][cuda]") {
  const auto check = [](const std::string& name_of_case, const auto& rule) {
    for (const auto kind : {Kind::residual_mlp, Kind::tokens}) {
      check_taped(name_of_case, kind, [&] { return LocalTrainer(here(kind), rule, {.epochs = 4}); });
    }
  };
  check("StatePredictor", StatePredictor{.clip = 1.0});
  check("DirectKolenPollack", DirectKolenPollack{});
  check("MonoForward", MonoForward{});
  check("LocalErrorSignals", LocalErrorSignals{});
  check("DecoupledGreedy", DecoupledGreedy{});
}

TEST_CASE("what a graph's step returned is there after steps of other shapes", "[fake_device][cuda]") {
  LocalTrainer trainer(here(Kind::residual_mlp), DFA{});
  Taped<decltype(trainer)> taped(trainer, {}, {.warm_up = 1});
  const auto full = batch_here(Kind::residual_mlp, 7, 1), part = batch_here(Kind::residual_mlp, 4, 2);
  for (int i = 0; i < 3; ++i) {
    taped.step(full.x, full.y);
    taped.step(part.x, part.y);
  }
  REQUIRE(taped.captures() == 2);
  for (const auto& [first, second] : {std::pair{full, part}, std::pair{part, full}}) {
    const auto [loss, correct] = taped.step(first.x, first.y);
    const auto loss_then = loss.cpu(), correct_then = correct.cpu();
    taped.step(second.x, second.y);
    CHECK(torch::equal(loss.cpu(), loss_then));
    CHECK(torch::equal(correct.cpu(), correct_then));
  }
}
