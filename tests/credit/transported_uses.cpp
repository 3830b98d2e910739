// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/kolen_pollack.hpp>
#include <creditlib/credit/layer_fa.hpp>
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/sign_symmetry.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/recurrent.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "../test.hpp"

using namespace creditlib;

namespace {

const std::string nothing = "(nothing was thrown)";

template <class Action>
std::string what_is_thrown(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return nothing;
}

/// A layer with one weight, (6, 6), that is used as the test says.
struct WeightUsedImpl : torch::nn::Module {
  using Use = std::function<torch::Tensor(const torch::Tensor& h, const torch::Tensor& weight)>;
  explicit WeightUsedImpl(Use use_of) : use(std::move(use_of)) {
    weight = register_parameter("weight", torch::randn({6, 6}));
  }
  torch::Tensor forward(const torch::Tensor& h) { return use(h, weight); }
  Use use;
  torch::Tensor weight;
};
TORCH_MODULE(WeightUsed);

/// A product that keeps its weight and computes anew in its backward pass, as checkpointing does.
struct Recomputed : torch::autograd::Function<Recomputed> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, torch::Tensor h, torch::Tensor weight) {
    context->save_for_backward({h, weight});
    return h.mm(weight.t()).tanh();
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list g) {
    const auto saved = context->get_saved_variables();
    const auto inside = g[0] * (1 - saved[0].mm(saved[1].t()).tanh().square());
    return {inside.mm(saved[1]), inside.t().mm(saved[0])};
  }
};

/// A part of a network. The embed has a layer below the one that a test is about.
enum class Part { Embed, Block, Readout };
std::string name_of(Part part) {
  return part == Part::Embed ? "the embed" : part == Part::Block ? "block 0" : "the readout";
}

/// What a step with LayerFA says if that part uses its weight, frozen or not, so.
std::string said_of_use(const WeightUsedImpl::Use& use, Part part, bool frozen) {
  using namespace torch::nn;
  torch::manual_seed(3);
  WeightUsed layer(use);
  layer->weight.set_requires_grad(!frozen);
  SequentialBlocksOptions options{.embed = Linear(5, 6),
                                  .blocks = {Sequential(Linear(6, 6), Tanh())},
                                  .readout = Sequential(Linear(6, 6)),
                                  .example = torch::zeros({1, 5})};
  if (part == Part::Embed) options.embed = Sequential(Linear(5, 6), Tanh(), layer);
  if (part == Part::Block) options.blocks = {Sequential(layer, Tanh())};
  if (part == Part::Readout) options.readout = Sequential(layer);
  SequentialBlocks model(options);
  const auto before = model->parameters()[2].clone();
  LocalTrainer trainer(model, LayerFA{}, {.path = Path::Generic});
  const auto text = what_is_thrown([&] { trainer.step(torch::randn({4, 5}), torch::randint(6, {4})); });
  if (text != nothing) CHECK(torch::equal(model->parameters()[2], before));
  CHECK(layer->weight.requires_grad() == !frozen);
  return text;
}

/// Calls action(part, frozen) for a layer anywhere.
template <class Action>
void everywhere(const Action& action) {
  for (const auto part : {Part::Embed, Part::Block, Part::Readout}) {
    for (const bool frozen : {false, true}) {
      INFO("in " << name_of(part) << (frozen ? ", frozen" : ""));
      action(part, frozen);
    }
  }
}

}  // namespace

TEST_CASE("A weight that is multiplied with activations, added to them or put beside them can have feedback") {
  everywhere([](Part part, bool frozen) {
    const auto said = [&](const WeightUsedImpl::Use& use) { return said_of_use(use, part, frozen); };
    CHECK(said([](auto& h, auto& w) { return h.mm(w.t()); }) == nothing);
    CHECK(said([](auto& h, auto& w) { return at::linear(h.tanh(), w.t()); }) == nothing);
    CHECK(said([](auto& h, auto& w) { return h.mm(w.t()).tanh().mm(w); }) == nothing);
    CHECK(said([](auto& h, auto& w) { return h * w[0]; }) == nothing);
    CHECK(said([](auto& h, auto& w) { return h + w.narrow(0, 1, 1); }) == nothing);
    CHECK(said([](auto& h, auto& w) { return h.mm(w.t()) * torch::full({6}, 2) + 1; }) == nothing);
    CHECK(said([](auto& h, auto& w) {
            const auto parts = w.chunk(2);
            return torch::cat({h.mm(parts[0].t()), h.mm(parts[1].t())}, 1);
          }) == nothing);
  });
}

TEST_CASE("A weight whose copy or function is what activations meet is refused in the first step") {
  everywhere([](Part part, bool frozen) {
    const auto refused = [&](const char* node, const WeightUsedImpl::Use& use) {
      const auto text = said_of_use(use, part, frozen);
      INFO(text);
      CHECK(text.find("transport: " + name_of(part) + " uses ") == 0);
      CHECK(text.find(node) != std::string::npos);
      CHECK(text.find(".weight") != std::string::npos);
    };
    refused("Norm", [](auto& h, auto& w) { return h.mm((w / w.norm(2, 1, true)).t()); });
    refused("MulBackward", [](auto& h, auto& w) { return h.mm((w * 0.5).t()); });
    refused("MulBackward", [](auto& h, auto& w) { return h.mm((w * torch::ones_like(w).tril()).t()); });
    refused("MmBackward", [](auto& h, auto& w) { return h.mm(w.mm(w)); });
    refused("MmBackward", [](auto& h, auto& w) { return h.mm(w.mm(torch::ones({6, 6}))); });
    refused("CloneBackward", [](auto& h, auto& w) { return h.mm(w.t().contiguous()); });
    refused("AddBackward", [](auto& h, auto& w) { return h / (w[0] + 9); });
    refused("DivBackward", [](auto& h, auto& w) { return h / w[0]; });
    refused("ExpBackward", [](auto& h, auto& w) { return h + w[0].exp(); });
    refused("Recomputed", [](auto& h, auto& w) { return Recomputed::apply(h, w); });
    const auto gain = torch::ones({6, 1}).requires_grad_();
    refused("MulBackward", [gain](auto& h, auto& w) { return h.mm((w * gain.exp()).t()); });
  });
}

TEST_CASE("In an embed on integers a masked weight is refused, and one that numbers are multiplied with is not") {
  using namespace torch::nn;
  torch::manual_seed(3);
  const auto said = [](const SequentialBlocksOptions& options, const torch::Tensor& x) {
    LocalTrainer trainer(SequentialBlocks(options), LayerFA{}, {.path = Path::Generic});
    return what_is_thrown([&] { trainer.step(x, torch::randint(3, {2})); });
  };
  const auto masked = [](auto& h, auto& w) { return at::matmul(h, w * torch::ones_like(w).tril()); };
  SequentialBlocksOptions options{.embed = Sequential(Embedding(7, 6), WeightUsed(masked)),
                                  .blocks = {Sequential(Flatten(), Linear(24, 6))},
                                  .readout = Linear(6, 3),
                                  .example = torch::zeros({1, 4}, torch::kInt64),
                                  .layout = HiddenLayout::FeaturesLast};
  CHECK(said(options, torch::randint(7, {2, 4})).find("transport: the embed uses embed.1.weight in MulBackward") == 0);
  options.embed = Sequential(Embedding(7, 6), WeightUsed([](auto& h, auto& w) { return at::matmul(h, w); }));
  CHECK(said(options, torch::randint(7, {2, 4})) == nothing);
  options.embed = Sequential(Embedding(7, 6), WeightUsed([](auto& h, auto& w) {  // rows of a table of their own
                               return h + at::embedding(w, torch::arange(4)).mm(w);
                             }));
  CHECK(said(options, torch::randint(7, {2, 4})) == nothing);
  const auto pixels = Functional([](const torch::Tensor& x) { return x.to(torch::kFloat32) / 255; });
  options = {.embed = Sequential(pixels, Conv2d(1, 2, 3), Flatten(), Linear(8, 6)),
             .blocks = {Linear(6, 6)},
             .readout = Linear(6, 3),
             .example = torch::zeros({1, 1, 4, 4}, torch::kUInt8)};
  CHECK(said(options, torch::randint(256, {2, 1, 4, 4}, torch::kUInt8)) == nothing);
}

TEST_CASE("Recurrent layers can have feedback") {
  using namespace torch::nn;
  const auto no_message = [](auto model, const torch::Tensor& x, const torch::Tensor& y) {
    LocalTrainer trainer(model, SignSymmetry{}, {.path = Path::Generic});
    return what_is_thrown([&] { trainer.step(x, y); });
  };
  torch::manual_seed(3);
  for (const std::int64_t projection : {0, 3}) {
    auto options = LSTMOptions(5, 6).batch_first(true);
    if (projection > 0) options.proj_size(projection);
    SequentialBlocks model(SequentialBlocksOptions{.embed = Linear(4, 5),
                                                   .blocks = {Recurrent(LSTM(options))},
                                                   .readout = Linear(projection > 0 ? projection : 6, 3),
                                                   .example = torch::zeros({1, 7, 4})});
    CHECK(no_message(model, torch::randn({2, 7, 4}), torch::randint(3, {2, 7})) == nothing);
  }
}

TEST_CASE("A gated layer's first state may be multiplied with its weights, both ways in time") {
  using namespace torch::nn;
  torch::manual_seed(3);
  for (const bool both_ways : {false, true}) {
    SequentialBlocks model(
        SequentialBlocksOptions{.embed = Linear(4, 5),
                                .blocks = {Recurrent(GRU(GRUOptions(5, 6).batch_first(true).bidirectional(both_ways)),
                                                     RecurrentOutput::LastStep)},
                                .readout = Linear(both_ways ? 12 : 6, 3),
                                .example = torch::zeros({1, 7, 4})});
    LocalTrainer trainer(model, LayerFA{}, {.path = Path::Generic});
    CHECK(what_is_thrown([&] { trainer.step(torch::randn({2, 7, 4}), torch::randint(3, {2})); }) == nothing);
  }
}

TEST_CASE("A source that comes later in a mix is checked when it comes") {
  using namespace torch::nn;
  torch::manual_seed(3);
  SequentialBlocks model(SequentialBlocksOptions{
      .embed = Linear(5, 6),
      .blocks = {Sequential(WeightUsed([](auto& h, auto& w) { return h.mm((w / w.norm()).t()); }))},
      .readout = Linear(6, 3),
      .example = torch::zeros({1, 5})});
  LocalTrainer trainer(model, Mix{DFA{}, LayerFA{}}, {.path = Path::Generic}, SwitchAt{.epoch = 1});
  const auto step = [&] { trainer.step(torch::randn({4, 5}), torch::randint(3, {4})); };
  CHECK(what_is_thrown(step) == nothing);
  trainer.end_epoch();
  CHECK(what_is_thrown(step).find("transport: block 0 uses ") == 0);
}

TEST_CASE("Kolen and Pollack's rule refuses models of 16 bits") {
  using namespace torch::nn;
  const auto said = [](torch::Dtype dtype) {
    SequentialBlocks model(SequentialBlocksOptions{
        .embed = Linear(5, 6), .blocks = {Linear(6, 6)}, .readout = Linear(6, 3), .example = torch::zeros({1, 5})});
    model->to(dtype);
    return what_is_thrown([&] { LocalTrainer(model, KolenPollack{}); });
  };
  CHECK(said(torch::kFloat32) == nothing);
  CHECK(said(torch::kBFloat16).find("KolenPollack: the model is bfloat16") == 0);
}

namespace {

struct NoHead {
  std::shared_ptr<torch::nn::LinearImpl> module(const HeadInput&) const { return nullptr; }
  torch::Tensor loss(std::shared_ptr<torch::nn::LinearImpl>&, const torch::Tensor& h, const Trace&) const { return h; }
};

}  // namespace

TEST_CASE("An empty head, and a sparse gradient, are sentences") {
  using namespace torch::nn;
  const auto model = [](bool sparse) {
    return SequentialBlocks(SequentialBlocksOptions{.embed = Embedding(EmbeddingOptions(7, 6).sparse(sparse)),
                                                    .blocks = {Linear(6, 6)},
                                                    .readout = Linear(6, 3),
                                                    .example = torch::zeros({1, 4}, torch::kInt64)});
  };
  CHECK(what_is_thrown([&] { LocalTrainer(model(false), LocalHeads<NoHead>{}); }) ==
        "LocalHeads: the head on h_0 is an empty module; module(input) must make one.");
  const auto x = torch::randint(7, {2, 4}), y = torch::randint(3, {2, 4});
  for (const bool sparse : {false, true}) {
    BackpropTrainer bp(model(sparse));
    LocalTrainer local(model(sparse), LayerFA{});
    for (const auto& text : {what_is_thrown([&] { bp.step(x, y); }), what_is_thrown([&] { local.step(x, y); })}) {
      CHECK((text.find("gets a sparse gradient") != std::string::npos) == sparse);
      CHECK((text == nothing) == !sparse);
    }
  }
}
