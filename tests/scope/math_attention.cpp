// SPDX-License-Identifier: Apache-2.0
#include <ATen/Context.h>

#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/scope/math_attention.hpp>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Which backends attention may use.
std::vector<bool> attention_backends() {
  const auto& context = at::globalContext();
  return {context.userEnabledFlashSDP(), context.userEnabledMemEfficientSDP(), context.userEnabledCuDNNSDP(),
          context.userEnabledMathSDP()};
}
const std::vector<bool> math_alone{false, false, false, true};

/// DFA that may or may not push forward.
template <bool push>
struct AttentionWatcher {
  struct State : DFA::State {
    static constexpr bool wants_pushforward = push;
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

struct WatchedAttentionImpl : torch::nn::Module {
  explicit WatchedAttentionImpl(std::vector<bool>* seen) : seen(seen) {}
  torch::Tensor forward(const torch::Tensor& h) {
    *seen = attention_backends();
    return h;
  }
  std::vector<bool>* seen;
};
TORCH_MODULE(WatchedAttention);

}  // namespace

TEST_CASE("attention runs in separate operations in the scope of MathAttention, and then as before", "[scope]") {
  const auto before = attention_backends();
  {
    const scope::MathAttention outer;
    CHECK(attention_backends() == math_alone);
    {
      const scope::MathAttention inner;
      CHECK(attention_backends() == math_alone);
    }
    CHECK(attention_backends() == math_alone);
  }
  CHECK(attention_backends() == before);

  try {
    const scope::MathAttention left_by_an_exception;
    throw std::runtime_error("");
  } catch (const std::runtime_error&) {
  }
  CHECK(attention_backends() == before);
}

TEST_CASE("what a user has set is restored", "[scope]") {
  auto& context = at::globalContext();
  const bool flash = context.userEnabledFlashSDP(), math = context.userEnabledMathSDP();
  context.setSDPUseFlash(false);
  context.setSDPUseMath(false);
  const auto chosen = attention_backends();
  {
    const scope::MathAttention scope;
    CHECK(attention_backends() == math_alone);
  }
  CHECK(attention_backends() == chosen);
  context.setSDPUseFlash(flash);
  context.setSDPUseMath(math);
}

TEST_CASE("scopes of several threads that end in another order than they began leave attention as it was", "[scope]") {
  const auto before = attention_backends();
  auto first = std::make_unique<scope::MathAttention>();
  std::thread([&] {
    auto second = std::make_unique<scope::MathAttention>();
    first.reset();
    CHECK(attention_backends() == math_alone);
  }).join();
  CHECK(attention_backends() == before);

  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int n = 0; n < 200; ++n) const scope::MathAttention scope;
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(attention_backends() == before);
}

TEST_CASE("a step's attention is in separate operations only for a rule that pushes forward", "[scope]") {
  using namespace torch::nn;
  const auto before = attention_backends();
  std::vector<bool> seen;
  SequentialBlocks model({.blocks = {Sequential(Linear(6, 5), WatchedAttention(&seen))},
                          .readout = Sequential(Linear(5, 4)),
                          .example = torch::zeros({1, 6})});
  const auto x = torch::randn({3, 6}), y = torch::zeros({3}, torch::kInt64);

  LocalTrainer(model, AttentionWatcher<true>{}).step(x, y);
  CHECK(seen == math_alone);
  CHECK(attention_backends() == before);
  LocalTrainer(model, AttentionWatcher<false>{}).step(x, y);
  CHECK(seen == before);
}
