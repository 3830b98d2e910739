// SPDX-License-Identifier: Apache-2.0
#include <torch/nn/modules/dropout.h>

#include <atomic>
#include <chrono>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/diagnostics/loss_from.hpp>
#include <creditlib/diagnostics/norm_matched.hpp>
#include <creditlib/diagnostics/precision_agreement.hpp>
#include <creditlib/diagnostics/trial_step.hpp>
#include <creditlib/diagnostics/update_utility.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/scope/untouched.hpp>
#include <functional>
#include <future>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

constexpr auto soon = std::chrono::milliseconds(100);  // for what would happen at once if nothing held it up
constexpr std::int64_t samples = 8, width = 32;

/// Sees which of its inputs are 0: after Dropout, the mask.
class MaskImpl : public torch::nn::Module {
 public:
  torch::Tensor forward(const torch::Tensor& h) {
    if (see) see(h.eq(0));
    return h;
  }
  std::function<void(const torch::Tensor&)> see;
};
TORCH_MODULE(Mask);

/// A network with Dropout, and what it has drawn in steps: each mask once, unless numbers repeat.
struct Dropping {
  Mask mask;
  SequentialBlocks model = nullptr;
  torch::Tensor x = torch::ones({samples, 4}), y = torch::zeros({samples}, torch::kInt64);
  std::multiset<std::string> masks = {};

  Dropping() {
    namespace nn = torch::nn;
    model = SequentialBlocks({.blocks = {nn::Sequential(nn::Linear(4, width), nn::Dropout(0.5), mask)},
                              .readout = nn::Sequential(nn::Linear(width, 3)),
                              .example = x});
  }

  /// `take` with its mask kept.
  template <class Take>
  void keeping(const Take& take) {
    mask->see = [this](const torch::Tensor& zeros) {
      const auto bytes = zeros.to(torch::kUInt8).contiguous();
      masks.emplace(reinterpret_cast<const char*>(bytes.const_data_ptr()), static_cast<std::size_t>(bytes.numel()));
    };
    take();
    mask->see = nullptr;
  }
};

bool repeated(const std::multiset<std::string>& masks) {
  return std::set(masks.begin(), masks.end()).size() != masks.size();
}

/// What a program may do that draws and puts the generator back, by name, as a call that gets a model with its batch.
using Preview = std::function<void(Dropping&)>;
std::vector<std::pair<std::string, Preview>> previews() {
  const auto local = [](const auto& look) {
    return [look](Dropping& its) {
      LocalTrainer trainer(its.model, DFA{}, {.lr = 0});
      look(trainer, its.x, its.y);
    };
  };
  return {
      {"credits", local([](auto& t, const auto& x, const auto& y) { t.credits(x, y); })},
      {"raw_credits", local([](auto& t, const auto& x, const auto& y) { t.raw_credits(x, y); })},
      {"gradients", local([](auto& t, const auto& x, const auto& y) { t.gradients(x, y); })},
      {"learn", local([](auto& t, const auto& x, const auto& y) { t.learn(x, y); })},
      {"rehearse", local([](auto& t, const auto& x, const auto& y) { t.rehearse([&] { t.step(x, y); }); })},
      {"back-propagation's credits", [](Dropping& its) { BackpropTrainer(its.model).credits(its.x, its.y); }},
      {"back-propagation's gradients", [](Dropping& its) { BackpropTrainer(its.model).gradients(its.x, its.y); }},
      {"LossFrom", [](Dropping& its) { diagnostics::LossFrom(its.model, its.x, its.y); }},
      {"mean_loss", [](Dropping& its) { diagnostics::mean_loss(its.model, its.x, its.y); }},
      {"Untouched",
       [](Dropping& its) {
         const scope::Untouched untouched(*its.model, torch::kCPU);
         its.model->forward(its.x);
       }},
  };
}

}  // namespace

TEST_CASE("a step waits for another thread's preview, and no draw of it is repeated", "[scope]") {
  for (const auto& [name, preview] : previews()) {
    INFO("beside " << name);
    Dropping previewed, stepped;
    LocalTrainer trainer(stepped.model, DFA{}, {.lr = 0});
    const auto step = [&] { stepped.keeping([&] { trainer.step(stepped.x, stepped.y); }); };
    const auto before = global_generator_state();
    std::future<void> ended;
    previewed.mask->see = [&](const torch::Tensor&) {
      if (ended.valid()) return;  // a preview may pass here again
      ended = std::async(std::launch::async, step);
      ended.wait_for(soon);
    };

    preview(previewed);

    REQUIRE(ended.valid());
    ended.get();
    for (int i = 0; i < 3; ++i) step();
    CHECK(stepped.masks.size() == 4);
    CHECK_FALSE(repeated(stepped.masks));
    CHECK_FALSE(torch::equal(before, global_generator_state()));
  }
}

TEST_CASE("a preview waits for another thread's step, backward or Drawing", "[scope]") {
  Dropping previewed, drawing;
  LocalTrainer trainer(drawing.model, DFA{}, {.lr = 0});
  const std::vector<std::pair<std::string, std::function<void()>>> drawers{
      {"step", [&] { trainer.step(drawing.x, drawing.y); }},
      {"backward",
       [&] {
         trainer.backward(drawing.x, drawing.y);
         trainer.end_step();
       }},
      {"Drawing",
       [&] {
         const scope::Drawing its;
         drawing.model->forward(drawing.x);
       }},
  };
  for (const auto& [name, draw] : drawers) {
    INFO("beside " << name);
    bool previewed_within = true;
    std::future<void> preview;
    drawing.mask->see = [&](const torch::Tensor&) {
      preview =
          std::async(std::launch::async, [&] { diagnostics::mean_loss(previewed.model, previewed.x, previewed.y); });
      previewed_within = preview.wait_for(soon) == std::future_status::ready;
    };
    const auto before = global_generator_state();

    draw();

    preview.get();
    CHECK_FALSE(previewed_within);
    CHECK_FALSE(torch::equal(before, global_generator_state()));  // the drawer's numbers are not put back
  }
}

TEST_CASE("threads that step and preview at once draw every number once", "[scope]") {
  constexpr int rounds = 40;
  const auto looks = previews();
  const auto run = [&](Dropping& its, std::size_t first) {
    LocalTrainer trainer(its.model, DFA{});
    for (int i = 0; i < rounds; ++i) {
      its.keeping([&] { trainer.step(its.x, its.y); });
      looks[(first + static_cast<std::size_t>(i)) % looks.size()].second(its);
    }
  };
  Dropping a, b, c;
  std::thread of_b(run, std::ref(b), 3), of_c(run, std::ref(c), 7);
  run(a, 0);
  of_b.join();
  of_c.join();

  auto masks = a.masks;
  masks.insert(b.masks.begin(), b.masks.end());
  masks.insert(c.masks.begin(), c.masks.end());
  CHECK(masks.size() == 3 * rounds);
  CHECK_FALSE(repeated(masks));
}

TEST_CASE("steps that put generators back themselves do not wait for each other for ever", "[scope]") {
  constexpr int rounds = 20;
  const auto run = [](Dropping& its) {
    LocalTrainer trainer(its.model, Vec{.directions = 2});
    for (int i = 0; i < rounds; ++i) trainer.step(its.x, its.y);  // with Untouched in it
    return trainer.steps();
  };
  Dropping a, b;
  auto other = std::async(std::launch::async, [&] { return run(b); });
  CHECK(run(a) == rounds);
  CHECK(other.get() == rounds);
}

TEST_CASE("passes that a diagnostic compares have the same masks beside a thread that draws", "[scope]") {
  Dropping its;
  std::atomic<bool> done = false;
  std::atomic<std::int64_t> draws = 0;
  std::thread other([&] {
    for (; !done; ++draws) {
      const scope::Drawing drawing;
      torch::rand({1});
    }
  });
  while (draws == 0) std::this_thread::yield();
  BackpropTrainer trainer(its.model);
  for (int i = 0; i < 20; ++i) {
    const auto update = trainer.gradients(its.x, its.y);
    const auto step = diagnostics::norm_matched_step(its.model, update, its.x, its.y, its.x, its.y, /*eta=*/0);
    CHECK(step.rule.value == 0.0);
    CHECK(step.backprop.value == 0.0);

    const std::pair batch(its.x, its.y);
    const auto utility =
        diagnostics::snapshot_utility(its.model, [&](const auto& x, const auto& y) { return trainer.gradients(x, y); },
                                      batch, batch, {batch}, {batch}, {.etas = {0}});
    CHECK(utility.same_1.value == 0.0);
    CHECK(utility.same_k.value == 0.0);

    for (const auto& agreement : diagnostics::precision_agreement(its.model, its.x, its.y)) {
      CHECK(agreement.cosine.value.value_or(0) > 0.999);
    }
  }
  done = true;
  other.join();
}

TEST_CASE("scopes nest, and what is within gives back what it took", "[scope]") {
  const auto others_draw_at_once = [] {
    auto drawn = std::async(std::launch::async, [] { const scope::Drawing drawing; });
    const bool at_once = drawn.wait_for(soon) == std::future_status::ready;
    return std::pair(at_once, std::move(drawn));
  };
  {
    const scope::Drawing drawing;
    CHECK(others_draw_at_once().first);
    {
      const scope::RestoredGlobalGenerators restored(torch::kCPU);
      const scope::Drawing within;
      const scope::RestoredGlobalGenerators again(torch::kCPU);
    }
    CHECK(others_draw_at_once().first);
  }
  std::future<void> waiting;
  {
    const scope::RestoredGlobalGenerators restored(torch::kCPU);
    { const scope::Drawing within; }
    auto [at_once, drawn] = others_draw_at_once();
    CHECK_FALSE(at_once);
    waiting = std::move(drawn);
  }
  waiting.get();
  CHECK(others_draw_at_once().first);
}

TEST_CASE("a network with a closed form leaves the generators to other threads", "[scope]") {
  auto model = residual_mlp();
  const scope::Untouched untouched(*model, torch::kCPU);
  auto drawn = std::async(std::launch::async, [] { const scope::Drawing drawing; });
  CHECK(drawn.wait_for(std::chrono::seconds(10)) == std::future_status::ready);
}
