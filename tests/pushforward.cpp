// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/model/small_resnet.hpp>
#include <creditlib/model/transformer_lm.hpp>
#include <creditlib/model/vit_mini.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/trace_of.hpp>
#include <functional>
#include <memory>
#include <vector>

#include "models.hpp"
#include "test.hpp"
#include "threads.hpp"
#include "undifferentiable.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Changes of all hidden states.
std::vector<torch::Tensor> drawn_changes(const Trace& trace, std::uint64_t seed = 9) {
  const auto generator = torch::make_generator<at::CPUGeneratorImpl>(seed);
  std::vector<torch::Tensor> changes;
  for (const auto& h : trace.hidden) {
    const auto drawn = at::randn(h.sizes(), generator, torch::TensorOptions(torch::kFloat32));
    changes.push_back(h.is_floating_point() ? drawn.to(h.options()) : torch::Tensor());
  }
  return changes;
}

/// How far <e, pushforward(u)> is from what pulling e back says of it, relative to the latter.
double from_pullback(const Trace& trace, const std::vector<torch::Tensor>& u) {
  const double pushed = (trace.error * trace.pushforward(u)).sum().item<double>();
  double pulled = 0;
  auto g = trace.loss_gradient();
  for (std::size_t l = trace.branch.size();; --l) {
    if (u[l].defined()) pulled += (g * u[l]).sum().item<double>();
    if (l == 0) break;
    g = trace.pullback(static_cast<std::int64_t>(l) - 1, g);
  }
  return std::abs(pushed - pulled) / std::max(1.0, std::abs(pulled));
}

/// A rule that looks at its Trace, with these rights; its credit is DFA's.
template <bool pull, bool push>
struct Looking {
  std::function<void(const Trace&)> look;

  struct State {
    static constexpr bool wants_pullback = pull, wants_pushforward = push;
    DFA::State direct;
    std::function<void(const Trace&)> look;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      look(trace);
      return direct.credit(model, trace);
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context), look};
  }
};

/// Calls action(model, batch, name) for a network of every kind, in float64.
template <class Action>
void on_every_network(const Action& action) {
  for (const auto kind : every_kind) {
    const auto batch = batch_for(kind, torch::kFloat64);
    if (kind == Kind::residual_mlp) {
      action(residual_mlp(torch::kFloat64), batch, name(kind));
    } else {
      action(stages(kind, torch::kFloat64), batch, name(kind));
    }
  }
  torch::manual_seed(2);
  const auto labels = torch::randint(4, {5});
  const auto images = torch::randn({5, 3, 8, 8}, torch::kFloat64);
  action(lively(SmallCNN({.classes = 4, .image = 8}), torch::kFloat64), Batch{images, labels}, "SmallCNN");
  action(lively(SmallResNet({.channels = 4, .classes = 4, .blocks = 2, .image = 8}), torch::kFloat64),
         Batch{images, labels}, "SmallResNet");
  action(
      lively(ViTMini({.width = 8, .heads = 2, .blocks = 2, .classes = 4, .image = 8, .mlp_ratio = 2}), torch::kFloat64),
      Batch{images, labels}, "ViTMini");
  const auto text = torch::randint(7, {5, 7});
  const Batch tokens{text.narrow(1, 0, 6), text.narrow(1, 1, 6)};
  for (const double dropout : {0.0, 0.3}) {
    action(
        lively(TransformerLM({.vocabulary = 7, .context = 6, .width = 8, .heads = 2, .blocks = 2, .dropout = dropout}),
               torch::kFloat64),
        tokens, dropout == 0 ? "TransformerLM" : "TransformerLM with dropout");
  }
}

/// A step function, with the gradient of a smooth one: of tensor operations, so that it can be differentiated again.
struct Spike : torch::autograd::Function<Spike> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& h) {
    context->save_for_backward({h});
    return h.gt(0).to(h.dtype());
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               const torch::autograd::tensor_list& g) {
    return {g[0] / (1 + context->get_saved_variables()[0].square())};
  }
};
/// Passes images on; counts those whose memory is not contiguous.
struct WatchedLayoutImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& h) {
    scattered += h.is_contiguous() ? 0 : 1;
    return h * 2;
  }
  int scattered = 0;
};
TORCH_MODULE(WatchedLayout);
struct SpikesImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& h) { return Spike::apply(h); }
};
TORCH_MODULE(Spikes);
struct SignsImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& h) { return h.sign(); }
};
TORCH_MODULE(Signs);

/// A rule whose credit is of the error alone, but for a pushforward.
struct PushingInConstantMemory {
  struct State : DFA::State {
    static constexpr bool wants_pushforward = true;

    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model& model, const Trace& trace) const {
      std::vector<torch::Tensor> u(4);
      u[1] = torch::ones({7, 5});
      trace.pushforward(u);
      return DFA::State::factored_credit(model, trace);
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

}  // namespace

TEST_CASE("pushforward is adjoint to pullback on every network, by formula and by autograd", "[trace]") {
  on_every_network([](auto model, const Batch& batch, const std::string& network) {
    for (const bool training : {true, false}) {
      for (const auto path : {Path::Generic, Path::Auto}) {
        INFO(network << (training ? "" : " in eval mode") << (path == Path::Auto ? "" : " by autograd"));
        model->train(training);
        int looked = 0;
        const auto look = [&](const Trace& trace) {
          ++looked;
          const auto u = drawn_changes(trace);
          CHECK(trace.pushforward(u).sizes() == trace.logits.sizes());
          CHECK(trace.pushforward(u).abs().max().item<double>() > 1e-3);
          CHECK(from_pullback(trace, u) < 1e-12);
          for (std::size_t l = 0; l < u.size(); ++l) {
            std::vector<torch::Tensor> alone(u.size());
            alone[l] = u[l];
            CHECK(from_pullback(trace, alone) < 1e-12);
          }
        };
        LocalTrainer trainer(model, Looking<true, true>{look}, {.path = path});
        trainer.credits(batch.x, batch.y);
        trainer.step(batch.x, batch.y);
        CHECK(looked == 2);
        CHECK(from_pullback(creditlib::trace_of(model, batch.x, batch.y),
                            drawn_changes(creditlib::trace_of(model, batch.x, batch.y))) < 1e-12);
      }
    }
  });
}

TEST_CASE("pushforward is the change of the logits", "[trace]") {
  for (const auto kind : {Kind::residual_mlp, Kind::conv, Kind::batch_norm}) {
    INFO("on " << name(kind));
    const auto check = [&](auto model) {
      const auto [x, y] = batch_for(kind, torch::kFloat64);
      const auto trace = creditlib::trace_of(model, x, y);
      const auto u = drawn_changes(trace);
      constexpr double step = 1e-6;
      const auto logits = [&](double factor) {
        const torch::NoGradGuard no_grad;
        torch::Tensor h = trace.hidden[0] + factor * u[0];
        for (std::int64_t l = 0; l < model->blocks(); ++l) {
          h = model->join(l, h, model->block(l, h)) + factor * u[static_cast<std::size_t>(l) + 1];
        }
        return torch::Tensor(model->readout(h));
      };

      CHECK(distance(trace.pushforward(u), (logits(step) - logits(-step)) / (2 * step)) < 1e-7);
    };
    if (kind == Kind::residual_mlp) {
      check(residual_mlp(torch::kFloat64));
    } else {
      check(stages(kind, torch::kFloat64));
    }
  }
}

TEST_CASE("images that a rule pushes forward are contiguous in every block, and otherwise in the network's own layout",
          "[trace]") {
  torch::manual_seed(3);
  using namespace torch::nn;
  const auto conv = [](std::int64_t from, std::int64_t to) { return Conv2d(Conv2dOptions(from, to, 3).padding(1)); };
  WatchedLayout watched;
  SequentialBlocks model(SequentialBlocksOptions{.embed = Sequential(Functional([](const torch::Tensor& x) {
                                                   return x.contiguous(at::MemoryFormat::ChannelsLast);
                                                 })),
                                                 .blocks = {Sequential(conv(3, 4), BatchNorm2d(4), Tanh()),
                                                            Sequential(watched, conv(4, 5), BatchNorm2d(5), Tanh())},
                                                 .readout = Sequential(Flatten(), Linear(5 * 36, 4)),
                                                 .example = torch::zeros({2, 3, 6, 6})});
  model->to(torch::kFloat64);
  const auto x = torch::randn({5, 3, 6, 6}, torch::kFloat64), y = torch::randint(4, {5});
  watched->scattered = 0;

  LocalTrainer pushing(model, Looking<true, true>{[](const Trace& trace) {
                         CHECK(trace.hidden[0].is_contiguous(at::MemoryFormat::ChannelsLast));
                         CHECK(from_pullback(trace, drawn_changes(trace)) < 1e-12);
                       }});
  pushing.step(x, y);
  CHECK(watched->scattered == 0);
  LocalTrainer pulling(model, Looking<true, false>{[](const Trace&) {}});
  pulling.step(x, y);
  CHECK(watched->scattered == 1);
}

TEST_CASE("changes may be left out, or be one value a channel", "[trace]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::sequence, Kind::tokens}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto [x, y] = batch_for(kind, torch::kFloat64);
    const auto trace = creditlib::trace_of(model, x, y);
    std::vector<torch::Tensor> narrow(trace.hidden.size()), wide(trace.hidden.size());

    CHECK(torch::equal(trace.pushforward(narrow), torch::zeros_like(trace.logits)));
    for (std::size_t l = 0; l < narrow.size(); ++l) {
      torch::manual_seed(3);
      narrow[l] = spread(torch::randn({x.size(0), features(model, static_cast<std::int64_t>(l))}, torch::kFloat64),
                         model, static_cast<std::int64_t>(l));
      wide[l] = narrow[l].expand_as(trace.hidden[l]).contiguous();
    }
    CHECK(distance(trace.pushforward(narrow), trace.pushforward(wide)) < 1e-14);
  }
}

TEST_CASE("pushing forward leaves no trace: running statistics, generators and the step are as without", "[trace]") {
  for (const auto kind : {Kind::batch_norm, Kind::dropout, Kind::residual_mlp}) {
    INFO("on " << name(kind));
    const auto stepped = [&](const auto& rule, auto model) {
      const auto batch = batch_for(kind, torch::kFloat64);
      LocalTrainer trainer(model, rule);
      torch::manual_seed(5);
      trainer.step(batch.x, batch.y);
      auto after = copies(model->parameters());
      for (const auto& buffer : copies(model->buffers())) after.push_back(buffer);
      after.push_back(global_generator_state());
      return after;
    };
    const auto both = [&](auto make) {
      const auto pushing =
          stepped(Looking<false, true>{[](const Trace& t) { t.pushforward(drawn_changes(t)); }}, make());
      CHECK(same(pushing, stepped(Looking<false, false>{[](const Trace&) {}}, make())));
    };
    if (kind == Kind::residual_mlp) {
      both([] { return residual_mlp(torch::kFloat64); });
    } else {
      both([&] { return stages(kind, torch::kFloat64); });
    }
  }
}

TEST_CASE("a Trace is pushed forward for sources that declare it, until the step's backward pass", "[trace]") {
  auto model = small_model();
  const auto [x, y] = small_batch();
  Trace kept;
  const auto keep = [&](const Trace& trace) { kept = trace; };
  const auto push = [](const Trace& trace) { trace.pushforward(drawn_changes(trace)); };

  for (const auto path : {Path::Generic, Path::ClosedForm}) {
    LocalTrainer without(model, Looking<true, false>{push}, {.path = path});
    CHECK(says(error_of([&] { without.step(x, y); }), {"Trace::pushforward", "wants_pushforward = true"}));
    LocalTrainer mixed(model, Mix{Looking<false, false>{push}, Looking<true, true>{push}}, {.path = path}, Blend{});
    CHECK(says(error_of([&] { mixed.step(x, y); }), {"Trace::pushforward", "wants_pushforward = true"}));
    LocalTrainer pulling(model, Looking<false, true>{[](const Trace& trace) { trace.pullback(0, trace.hidden[1]); }},
                         {.path = path});
    CHECK(says(error_of([&] { pulling.step(x, y); }), {"wants_pullback"}));
    LocalTrainer keeping(model, Looking<false, true>{keep}, {.path = path});
    keeping.step(x, y);
    CHECK(says(error_of([&] { push(kept); }), {"Trace::pushforward", "consumed the graph"}));
  }
  CHECK(says(error_of([&] { Trace().pushforward({}); }), {"wants_pushforward"}));
}

TEST_CASE("changes that do not fit are refused", "[trace]") {
  auto model = small_model();
  const auto [x, y] = small_batch();
  const auto trace = creditlib::trace_of(model, x, y);
  const auto with = [&](std::size_t l, const torch::Tensor& change) {
    std::vector<torch::Tensor> u(4);
    u[l] = change;
    return error_of([&] { trace.pushforward(u); });
  };

  CHECK(
      says(error_of([&] { trace.pushforward(std::vector<torch::Tensor>(3)); }), {"3 changes were given, expected 4"}));
  CHECK(says(with(1, torch::zeros({7, 6})), {"the change of h_1 is (7, 6) float32 on cpu, expected (7, 5) float32"}));
  CHECK(says(with(2, torch::zeros({5})), {"the change of h_2 is (5) float32"}));
  CHECK(says(with(0, torch::zeros({7, 5}, torch::kFloat64)), {"the change of h_0 is (7, 5) float64"}));

  torch::manual_seed(1);
  using namespace torch::nn;
  SequentialBlocks ids({.blocks = {Sequential(Embedding(7, 5), Flatten(), Linear(15, 5))},
                        .readout = Sequential(Linear(5, 4)),
                        .example = torch::zeros({1, 3}, torch::kInt64)});
  const auto of_ids = creditlib::trace_of(ids, torch::randint(7, {6, 3}), torch::randint(4, {6}));
  CHECK(says(error_of([&] { of_ids.pushforward({torch::ones({6, 3}), torch::Tensor()}); }),
             {"h_0 is (6, 3) int64 on cpu, which has no derivative"}));
  CHECK(of_ids.pushforward({torch::Tensor(), torch::ones({6, 5})}).abs().max().item<float>() > 0);
}

TEST_CASE("an operation that cannot be differentiated again is refused, and one of a user's own that can is not",
          "[trace]") {
  torch::manual_seed(3);
  const auto x = torch::randn({7, 6}, torch::kFloat64), y = torch::randint(4, {7});
  const auto refusal = [&](auto model) {
    const auto trace = creditlib::trace_of(model, x, y);
    return error_of([&] { trace.pushforward(drawn_changes(trace)); });
  };
  const auto adjoint = [&](auto model) {
    const auto trace = creditlib::trace_of(model, x, y);
    return from_pullback(trace, drawn_changes(trace));
  };

  CHECK(says(refusal(with_layer(FusedAttention())),
             {"block 1", "_scaled_dot_product_flash_attention_for_cpu", "rule without wants_pushforward"}));
  CHECK(says(refusal(with_layer(BehindAutograd())), {"block 1", "writes memory itself", "with tensor operations"}));
  CHECK(adjoint(with_layer(Spikes())) < 1e-12);
  CHECK(adjoint(with_layer(Signs())) < 1e-12);  // whose derivative is 0
}

TEST_CASE("in constant memory there is nothing to push forward through", "[trace]") {
  auto model = small_model();

  CHECK(says(error_of([&] { LocalTrainer(model, PushingInConstantMemory{}, {.memory = Memory::Constant}); }),
             {"memory is Constant", "without wants_pullback and wants_pushforward", "Memory::Activations"}));
}

TEST_CASE("by formula a change in float32, on several threads and in bfloat16 is that of float64", "[trace]") {
  using namespace torch::nn;
  torch::manual_seed(4);
  const auto norm = [](bool affine) { return LayerNorm(LayerNormOptions({90}).elementwise_affine(affine)); };
  auto model = lively(SequentialBlocks(SequentialBlocksOptions{
                          .embed = Sequential(Linear(60, 90)),
                          .blocks = {Sequential(norm(true), Linear(90, 133), ReLU(), Linear(133, 90), Tanh()),
                                     Sequential(Linear(LinearOptions(90, 90).bias(false)), GELU(), norm(false))},
                          .readout = Sequential(norm(true), Linear(90, 4)),
                          .residual = true,
                          .example = torch::zeros({1, 60})}),
                      torch::kFloat32);
  const auto x = torch::randn({72, 60}), y = torch::randint(4, {72});
  const auto pushed = [&](auto of, const TrainerOptions& options, int threads) {
    const Threads these(threads);
    torch::Tensor change;
    const auto look = [&](const Trace& trace) { change = trace.pushforward(drawn_changes(trace)).clone(); };
    LocalTrainer trainer(of, Looking<false, true>{look}, options);
    trainer.credits(x.to(trainer.model()->parameters()[0].dtype()), y);
    return change.to(torch::kFloat64);
  };
  auto wide = model->clone();
  wide->to(torch::kFloat64);
  const auto expected = pushed(wide, {.path = Path::Generic}, 1);
  const double size = expected.norm().item<double>();
  const auto apart = [&](const torch::Tensor& change) { return (change - expected).norm().item<double>() / size; };

  CHECK(apart(pushed(wide, {.path = Path::ClosedForm}, 1)) < 1e-12);
  CHECK(apart(pushed(wide, {.path = Path::ClosedForm}, 3)) < 1e-12);
  CHECK(apart(pushed(model, {.path = Path::ClosedForm}, 1)) < 1e-5);
  CHECK(apart(pushed(model, {.path = Path::ClosedForm}, 3)) < 1e-5);
  const double rounded = apart(pushed(model, {.precision = MatmulPrecision::BFloat16}, 1));
  CHECK(rounded < 5e-2);
  CHECK(rounded > 1e-5);
}
