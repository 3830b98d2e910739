// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/kolen_pollack.hpp>
#include <creditlib/credit/layer_fa.hpp>
#include <creditlib/credit/low_rank_feedback.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/sign_symmetry.hpp>
#include <creditlib/credit/weight_mirror.hpp>
#include <creditlib/detail/autocast.hpp>
#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/model/small_resnet.hpp>
#include <creditlib/model/transformer_lm.hpp>
#include <creditlib/model/vit_mini.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/schedule/switch_at.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Calls action(model, x, y) on a model and a batch of each form, in train mode.
template <class Action>
void on_each_network(torch::Dtype dtype, const Action& action) {
  const auto images = [&](std::int64_t side) { return torch::randn({6, 3, side, side}, dtype); };
  for (const auto kind : every_kind) {
    INFO(name(kind));
    const auto batch = batch_for(kind, dtype);
    if (kind == Kind::residual_mlp) {
      action(residual_mlp(dtype), batch.x, batch.y);
    } else {
      action(stages(kind, dtype), batch.x, batch.y);
    }
  }
  const auto labels = torch::randint(4, {6});
  {
    INFO("SmallCNN");
    action(test::lively(SmallCNN(SmallCNNOptions{.classes = 4, .image = 8}), dtype), images(8), labels);
  }
  {
    INFO("SmallResNet");
    action(test::lively(SmallResNet(SmallResNetOptions{.channels = 5, .classes = 4, .blocks = 2, .image = 6}), dtype),
           images(6), labels);
  }
  {
    INFO("ViTMini");
    action(test::lively(ViTMini(ViTMiniOptions{.width = 8, .heads = 2, .blocks = 2, .classes = 4, .image = 8}), dtype),
           images(8), labels);
  }
  {
    INFO("TransformerLM");
    TransformerLM model({.vocabulary = 7, .context = 5, .width = 8, .heads = 2, .blocks = 2});
    action(test::lively(model, dtype), torch::randint(7, {6, 5}), torch::randint(7, {6, 5}));
  }
}

/// A layer at two depths of a module that is no BlockModule, whose parameters() LibTorch makes.
struct ListsTwice : torch::nn::Module {
  ListsTwice() {
    layer = register_module("first", torch::nn::Linear(6, 6));
    register_module("second", layer);
    head = register_module("head", torch::nn::Linear(6, 3));
    to(torch::kFloat64);
  }
  torch::Tensor embed(const torch::Tensor& x) { return x; }
  std::int64_t blocks() const { return 2; }
  torch::Tensor block(std::int64_t, const torch::Tensor& h) { return layer(h).tanh(); }
  torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) { return h + f; }
  torch::Tensor readout(const torch::Tensor& h) { return head(h); }
  torch::Tensor forward(const torch::Tensor& x) {
    return readout(join(1, join(0, x, block(0, x)), block(1, join(0, x, block(0, x)))));
  }
  std::int64_t classes() const { return 3; }
  std::vector<std::int64_t> hidden_shape(std::int64_t) const { return {6}; }
  std::vector<torch::Tensor> embed_parameters() const { return {}; }
  std::vector<torch::Tensor> block_parameters(std::int64_t) const { return layer->parameters(); }
  std::vector<torch::Tensor> readout_parameters() const { return head->parameters(); }

  torch::nn::Linear layer = nullptr, head = nullptr;
};

template <class Model>
std::vector<torch::Tensor> copies_of(const Model& model) {
  std::vector<torch::Tensor> copies;
  for (const auto& parameter : model->parameters()) copies.push_back(parameter.detach().clone());
  return copies;
}

template <class Trainer>
std::vector<torch::Tensor> seeded_gradients(Trainer& trainer, const torch::Tensor& x, const torch::Tensor& y) {
  torch::manual_seed(5);  // Dropout's masks
  return trainer.gradients(x, y);
}

/// A rule of layer feedback on a model whose weights are changed once the forward pass is over, and put back after its
/// credit.
template <class Rule>
struct OnChangedWeights {
  Rule rule;
  double factor_from = 0.5, factor_to = 2;

  template <class Inner>
  struct Changed {
    Inner inner;
    double from, to;
    std::vector<torch::Tensor> before = {};
    bool checked = false;

    template <class Model>
    std::vector<torch::Tensor> transport(Model& model) {
      if (!std::exchange(checked, true)) return inner.transport(model);  // when the trainer is made
      before = copies_of(model);
      for (auto& parameter : model->parameters()) {
        if (parameter.dim() > 1) parameter.variable_data().mul_(torch::empty_like(parameter).uniform_(from, to));
      }
      return inner.transport(model);
    }
    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) {
      auto credits = inner.credit(model, trace);
      for (std::size_t i = 0; i < before.size(); ++i) model->parameters()[i].variable_data().copy_(before[i]);
      return credits;
    }
  };

  template <class Model>
  auto bind(Model& model, const BindContext& context) const {
    auto state = rule.bind(model, context);
    return Changed<decltype(state)>{std::move(state), factor_from, factor_to};
  }
};

/// The largest cosine, over hidden states below the last, of a rule's credit with the true gradient.
template <class Rule>
double cosine_to_gradient(const Rule& rule) {
  auto model = ResidualMLP({.input = 20, .width = 200, .classes = 10, .blocks = 3});
  model->to(torch::kFloat64);
  const auto x = torch::randn({64, 20}, torch::kFloat64), y = torch::randint(10, {64});
  LocalTrainer trainer(model, rule, {}, Raw{});
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});
  const auto a = trainer.raw_credits(x, y), g = oracle.raw_credits(x, y);
  double most = -1;
  for (std::size_t l = 0; l + 1 < a.size(); ++l)
    most = std::max(most, diagnostics::sample_cosines(a[l], g[l]).mean().template item<double>());
  return most;
}

double norm_of_difference(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].defined()) sum += (a[i] - b[i].detach()).square().sum().item<double>();
  }
  return std::sqrt(sum);
}

}  // namespace

TEST_CASE("Feedback that is the weights themselves gives the oracle, to the bit") {
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    on_each_network(dtype, [&](auto model, const torch::Tensor& x, const torch::Tensor& y) {
      LocalTrainer copy(model, LayerFA{.feedback = copies_of(model)}, {}, Raw{});
      LocalTrainer oracle(model, Oracle{}, {}, Raw{});
      REQUIRE(same(seeded_gradients(copy, x, y), seeded_gradients(oracle, x, y)));
    });
  }
}

TEST_CASE("Feedback of zeros gives a credit of exactly zero, and leaves the weights as they were") {
  on_each_network(torch::kFloat32, [&](auto model, const torch::Tensor& x, const torch::Tensor& y) {
    auto zeros = copies_of(model);
    for (auto& tensor : zeros) tensor = tensor.dim() > 1 ? torch::zeros_like(tensor) : torch::Tensor();
    const auto before = copies_of(model);
    LocalTrainer trainer(model, LayerFA{.feedback = zeros}, {}, Raw{});
    for (const auto& a : trainer.raw_credits(x, y)) {
      if (a.defined()) REQUIRE(a.abs().max().template item<double>() == 0);
    }
    REQUIRE(same(copies_of(model), before));
    trainer.step(x, y);
    for (const auto& tensor : trainer.state().feedback) {
      if (tensor.defined()) REQUIRE(tensor.count_nonzero().template item<std::int64_t>() == 0);
    }
  });
}

TEST_CASE("Random feedback gives the same step by formula and by autograd") {
  const auto batch = batch_for(Kind::residual_mlp, torch::kFloat64);
  const auto gradients = [&](Path path) {
    LocalTrainer trainer(residual_mlp(torch::kFloat64), LayerFA{}, {.path = path}, Raw{});
    REQUIRE(trainer.path() == path);
    return trainer.gradients(batch.x, batch.y);
  };
  REQUIRE(distance(gradients(Path::ClosedForm), gradients(Path::Generic)) < 1e-12);
}

TEST_CASE("Layer feedback is the chain rule with other matrices, by hand") {
  using namespace torch::nn;
  Linear embed(5, 6), first(6, 7), second(7, 8), readout(8, 3);
  SequentialBlocks model({.embed = Sequential(embed, Tanh()),
                          .blocks = {Sequential(first, ReLU(), second, Tanh())},
                          .readout = Sequential(readout),
                          .residual = false,
                          .example = torch::zeros({1, 5})});
  model->to(torch::kFloat64);
  const auto x = torch::randn({4, 5}, torch::kFloat64), y = torch::randint(3, {4});
  LocalTrainer trainer(model, LayerFA{}, {}, Raw{});
  const auto gradients = trainer.gradients(x, y);
  const auto B = trainer.state().feedback;

  const torch::NoGradGuard no_grad;
  const auto h0 = embed(x).tanh(), u = first(h0).relu(), h1 = second(u).tanh();
  const auto e = readout(h1).softmax(1) - at::one_hot(y, 3);
  const auto names = model->named_parameters().keys();
  std::size_t checked = 0;
  const auto B_of = [&](const torch::Tensor& weight) {
    for (std::size_t i = 0; i < B.size(); ++i)
      if (model->parameters()[i].is_same(weight)) return B[i];
    FAIL("no such weight");
    return torch::Tensor();
  };
  const auto expect = [&](const torch::Tensor& parameter, const torch::Tensor& gradient) {
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (!model->parameters()[i].is_same(parameter)) continue;
      ++checked;
      REQUIRE(distance(gradients[i], gradient / 4) < 1e-12);
    }
  };
  const auto in_second = e.mm(B_of(readout->weight)) * (1 - h1.square());
  const auto in_first = in_second.mm(B_of(second->weight)) * u.gt(0);
  const auto in_embed = in_first.mm(B_of(first->weight)) * (1 - h0.square());
  expect(readout->weight, e.t().mm(h1));
  expect(second->weight, in_second.t().mm(u));
  expect(second->bias, in_second.sum(0));
  expect(first->weight, in_first.t().mm(h0));
  expect(embed->weight, in_embed.t().mm(x));
  REQUIRE(checked == 5);
}

TEST_CASE("Layer feedback reads no weight, and sign-concordant feedback their signs alone") {
  const auto batch = batch_for(Kind::conv, torch::kFloat64);
  const auto credits = [&](const auto& rule) {
    LocalTrainer trainer(stages(Kind::conv, torch::kFloat64), rule, {}, Raw{});
    torch::manual_seed(3);
    return trainer.raw_credits(batch.x, batch.y);
  };
  const auto blind = [&](const auto& rule, double from, double to) {
    return same(credits(rule), credits(OnChangedWeights<std::decay_t<decltype(rule)>>{rule, from, to}));
  };
  REQUIRE(blind(LayerFA{}, -2, 2));
  REQUIRE(blind(KolenPollack{}, -2, 2));
  REQUIRE(blind(WeightMirror{}, -2, 2));
  REQUIRE(blind(LowRankFeedback{.rank = 1}, -2, 2));
  for (const auto magnitude : {Magnitude::Uniform, Magnitude::Fixed, Magnitude::Redrawn}) {
    REQUIRE(blind(SignSymmetry{magnitude}, 0.5, 2));
    REQUIRE_FALSE(blind(SignSymmetry{magnitude}, -2, 2));
  }
}

TEST_CASE("Fixed random feedback is no gradient at the start, signs are close to one") {
  torch::manual_seed(1);
  REQUIRE(std::abs(cosine_to_gradient(LayerFA{})) < 3 / std::sqrt(200.0));
  REQUIRE(cosine_to_gradient(SignSymmetry{}) > 0.5);
  REQUIRE(cosine_to_gradient(SignSymmetry{}) < 0.99);
}

TEST_CASE("Sign-concordant feedback of weights that have its magnitude is the oracle") {
  const auto batch = batch_for(Kind::conv, torch::kFloat64);
  auto model = stages(Kind::conv, torch::kFloat64);
  for (auto& parameter : model->parameters()) {
    if (parameter.dim() < 2) continue;
    const auto [in, out] = creditlib::detail::fans_of(parameter);
    parameter.variable_data().sign_().mul_(std::sqrt(2 / (in + out)));
  }
  LocalTrainer signs(model, SignSymmetry{}, {}, Raw{});
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});
  REQUIRE(distance(signs.gradients(batch.x, batch.y), oracle.gradients(batch.x, batch.y)) < 1e-14);
}

TEST_CASE("Magnitudes are redrawn for each batch, and a preview draws none") {
  const auto batch = batch_for(Kind::plain, torch::kFloat64);
  LocalTrainer trainer(stages(Kind::plain, torch::kFloat64), SignSymmetry{Magnitude::Redrawn}, {.lr = 0}, Raw{});
  const auto first = trainer.raw_credits(batch.x, batch.y);
  REQUIRE(same(trainer.raw_credits(batch.x, batch.y), first));
  trainer.step(batch.x, batch.y);
  REQUIRE_FALSE(same(trainer.raw_credits(batch.x, batch.y), first));
}

TEST_CASE("Kolen and Pollack's feedback comes closer to the weights by its decay, whatever the optimizer") {
  const auto batch = batch_for(Kind::conv, torch::kFloat64);
  for (const auto optimizer : {Optimizer::AdamW, Optimizer::SGD}) {
    auto model = stages(Kind::conv, torch::kFloat64);
    LocalTrainer trainer(model, KolenPollack{.decay = 0.125}, {.lr = 0.05, .optimizer = optimizer}, Raw{});
    double before = norm_of_difference(trainer.state().feedback, model->parameters());
    for (int i = 0; i < 10; ++i) {
      trainer.step(batch.x, batch.y);
      const double now = norm_of_difference(trainer.state().feedback, model->parameters());
      REQUIRE(now == Approx(before * 0.875).epsilon(1e-12));
      before = now;
    }
  }
}

TEST_CASE("Kolen and Pollack's credit is layer feedback alignment's as long as no weight changes") {
  const auto batch = batch_for(Kind::plain, torch::kFloat64);
  const auto credits = [&](const auto& rule) {
    LocalTrainer trainer(stages(Kind::plain, torch::kFloat64), rule, {.lr = 0}, Raw{});
    trainer.step(batch.x, batch.y);
    return trainer.raw_credits(batch.x, batch.y);
  };
  REQUIRE(same(credits(KolenPollack{.decay = 0}), credits(LayerFA{})));
}

TEST_CASE("A mirror turns feedback towards the weights, and keeps its norm") {
  auto model = stages(Kind::conv, torch::kFloat64);
  const BindContext context{torch::kCPU, torch::kFloat64, statistics::seeded(3, 0)};
  auto state = WeightMirror{.rate = 1, .noise = 1, .samples = 100000}.bind(model, context);
  const auto before = state.feedback;
  std::vector<double> norms;
  for (const auto& B : before) norms.push_back(B.defined() ? B.norm().item<double>() : 0);
  state.mirror(model->parameters());
  for (std::size_t i = 0; i < norms.size(); ++i) {
    if (norms[i] == 0) continue;
    const auto W = model->parameters()[i].detach(), B = state.feedback[i];
    REQUIRE((B * W).sum().item<double>() / (B.norm() * W.norm()).item<double>() > 0.99);
    REQUIRE(B.norm().item<double>() == Approx(norms[i]).epsilon(1e-9));
  }
}

TEST_CASE("Low-rank feedback of full rank starts as the oracle, and follows the weights") {
  const auto batch = batch_for(Kind::conv, torch::kFloat64);
  auto model = stages(Kind::conv, torch::kFloat64);
  LocalTrainer full(model, LowRankFeedback{.rank = 1000}, {}, Raw{});
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});
  REQUIRE(distance(full.gradients(batch.x, batch.y), oracle.gradients(batch.x, batch.y)) < 1e-10);

  LocalTrainer low(model, LowRankFeedback{.rank = 1}, {}, Raw{});
  REQUIRE(distance(low.gradients(batch.x, batch.y), oracle.gradients(batch.x, batch.y)) > 1e-2);

  const auto distance_after = [&](bool reads_weights) {
    auto trained = stages(Kind::conv, torch::kFloat64);
    LocalTrainer trainer(trained, LowRankFeedback{.rank = 1000, .lr = 1e-2, .reads_weights = reads_weights},
                         {.lr = 1e-3}, Raw{});
    for (int i = 0; i < 50; ++i) trainer.step(batch.x, batch.y);
    return norm_of_difference(trainer.state().transport(trained), trained->parameters());
  };
  REQUIRE(distance_after(true) < 0.2 * distance_after(false));
}

TEST_CASE("In a mix the source with transport alone is transported") {
  const auto batch = batch_for(Kind::residual_mlp, torch::kFloat64);
  const auto gradients = [&](auto&&... parts) {
    LocalTrainer trainer(residual_mlp(torch::kFloat64), std::forward<decltype(parts)>(parts)...);
    return trainer.gradients(batch.x, batch.y);
  };
  const auto dfa = gradients(DFA{}, TrainerOptions{}, Raw{});
  REQUIRE(same(gradients(Mix{DFA{}, LayerFA{}}, TrainerOptions{}, SwitchAt{.epoch = 1}, Raw{}), dfa));
  const auto layer_fa = gradients(LayerFA{}, TrainerOptions{}, Raw{});
  REQUIRE(same(gradients(Mix{LayerFA{}, DFA{}}, TrainerOptions{}, SwitchAt{.epoch = 1}, Raw{}), layer_fa));
}

TEST_CASE("In a mix any weight of the source with transport takes the gradients inside blocks through its feedback") {
  const auto batch = batch_for(Kind::residual_mlp, torch::kFloat64);
  const auto trainer_of = [&](double alpha) {
    return LocalTrainer(residual_mlp(torch::kFloat64), Mix{DFA{}, LayerFA{}}, {}, Blend{.alpha = alpha});
  };
  auto without = trainer_of(0), with = trainer_of(1e-12);
  REQUIRE(distance(with.credits(batch.x, batch.y), without.credits(batch.x, batch.y)) < 1e-4);
  const auto names = without.model()->named_parameters().keys();
  const auto through_weights = without.gradients(batch.x, batch.y), through_feedback = with.gradients(batch.x, batch.y);
  for (std::size_t i = 0; i < names.size(); ++i) {
    INFO(names[i]);
    const auto far = distance(through_feedback[i], through_weights[i]);
    const bool below_a_weight = names[i].find("w1") != std::string::npos || names[i].find("ln") != std::string::npos;
    CHECK(below_a_weight == (far > 1e-2));
  }
}

TEST_CASE("A weight that two layers share has its feedback once") {
  using namespace torch::nn;
  Linear shared(6, 6);
  SequentialBlocks model({.embed = Sequential(Linear(5, 6)),
                          .blocks = {Sequential(shared, Tanh()), Sequential(shared, Tanh())},
                          .readout = Sequential(Linear(6, 3)),
                          .residual = true,
                          .example = torch::zeros({1, 5})});
  model->to(torch::kFloat64);
  const auto x = torch::randn({4, 5}, torch::kFloat64), y = torch::randint(3, {4});
  LocalTrainer copy(model, LayerFA{.feedback = copies_of(model)}, {}, Raw{});
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});
  REQUIRE(same(copy.gradients(x, y), oracle.gradients(x, y)));
  LocalTrainer random(model, LayerFA{}, {}, Raw{});
  REQUIRE(distance(random.gradients(x, y), oracle.gradients(x, y)) > 0.1);

  const auto listed_twice = std::make_shared<ListsTwice>();
  LocalTrainer once(listed_twice, LayerFA{.feedback = copies_of(listed_twice)}, {}, Raw{});
  LocalTrainer exact(listed_twice, Oracle{}, {}, Raw{});
  const auto h = torch::randn({4, 6}, torch::kFloat64);
  REQUIRE(same(once.gradients(h, y), exact.gradients(h, y)));
  auto two = copies_of(listed_twice);
  for (auto& tensor : two) tensor = torch::randn_like(tensor);
  REQUIRE(says(error_of([&] { LocalTrainer(listed_twice, LayerFA{.feedback = two}, {}, Raw{}); }),
               {"parameters() list one parameter as 0 and 2", "give it one"}));
}

TEST_CASE("Feedback that does not fit is refused before the first step") {
  auto model = stages(Kind::conv);
  auto feedback = copies_of(model);
  const auto trainer_of = [&](const std::vector<torch::Tensor>& given, TrainerOptions options = {}) {
    LocalTrainer trainer(model, LayerFA{.feedback = given}, options, Raw{});
  };
  REQUIRE(says(error_of([&] { trainer_of({feedback[0]}); }), {"LayerFA: 1 feedback matrices were given, expected"}));
  feedback[0] = torch::zeros({2, 2});
  REQUIRE(says(error_of([&] { trainer_of(feedback); }), {"LayerFA: feedback 0 is (2, 2), expected"}));
  const auto message = [&](const torch::Tensor& given) {
    auto all = copies_of(model);
    all[0] = given;
    return error_of([&] { trainer_of(all); });
  };
  const auto right = copies_of(model)[0];
  REQUIRE(says(message(right.to_sparse()), {"LayerFA: feedback 0 is sparse", "to_dense()"}));
  REQUIRE(says(message(right.to(torch::kMeta)), {"LayerFA: feedback 0 is on meta", "has no numbers"}));
  auto wrong = right.clone();
  wrong.view(-1)[1] = NAN;
  REQUIRE(says(message(wrong), {"LayerFA: feedback 0 has numbers that are NaN or infinite", "finite"}));
  REQUIRE(says(message(torch::full_like(right, 1e300, torch::kFloat64)), {"infinite in float32"}));

  auto mlp = residual_mlp();
  REQUIRE(says(error_of([&] { LocalTrainer(mlp, LayerFA{}, {.precision = MatmulPrecision::BFloat16}, Raw{}); }),
               {"precision is BFloat16", "use Float32"}));
  {
    LocalTrainer trainer(stages(Kind::conv), LayerFA{}, {}, Raw{});
    const auto batch = batch_for(Kind::conv);
    const creditlib::detail::Autocast on(torch::kCPU, true);
    REQUIRE(says(error_of([&] { trainer.step(batch.x, batch.y); }), {"Autocast is on", "switch autocast off"}));
  }
  auto parameter = mlp->parameters()[0];
  const auto flat = torch::cat({parameter.detach().flatten(), torch::zeros({3})});
  parameter.set_data(flat.narrow(0, 0, parameter.numel()).view(parameter.sizes()));
  REQUIRE(says(error_of([&] { LocalTrainer(mlp, LayerFA{}, {}, Raw{}); }), {"is a part of a larger buffer"}));

  REQUIRE(says(error_of([&] { LocalTrainer(residual_mlp(), KolenPollack{.decay = 2}, {}); }),
               {"KolenPollack: decay is 2"}));
  REQUIRE(says(error_of([&] { LocalTrainer(residual_mlp(), WeightMirror{.samples = 0}, {}); }), {"samples is 0"}));
  REQUIRE(says(error_of([&] { LocalTrainer(residual_mlp(), LowRankFeedback{.rank = 0}, {}); }), {"rank is 0"}));
}

TEST_CASE("Exchanged storages come back, whatever happens, and refuse what does not fit") {
  auto w = torch::randn({3, 4}), b = torch::randn({3, 4});
  const auto w_before = w.clone(), b_before = b.clone();
  const auto version = w._version();
  try {
    const creditlib::detail::ExchangedStorages exchanged({{w}, {b}});
    REQUIRE(torch::equal(w, b_before));
    REQUIRE(torch::equal(b, w_before));
    throw std::runtime_error("a backward pass fails");
  } catch (const std::runtime_error&) {
  }
  REQUIRE(torch::equal(w, w_before));
  REQUIRE(torch::equal(b, b_before));
  REQUIRE(w._version() == version);

  const auto refused = [&](const torch::Tensor& parameter, const torch::Tensor& feedback) {
    const creditlib::detail::ExchangedStorages exchanged({{parameter}, {feedback}});
  };
  REQUIRE(says(error_of([&] { refused(w, torch::zeros({4, 3}).t()); }), {"strides"}));
  REQUIRE(
      says(error_of([&] { refused(w, torch::zeros({4, 3})); }), {"is (4, 3) float32 on cpu, expected (3, 4) float32"}));
  REQUIRE(says(error_of([&] { refused(w, torch::zeros({3, 4}, torch::kFloat64)); }), {"float64"}));
  REQUIRE(says(error_of([&] { refused(w, torch::zeros({6, 4}).narrow(0, 0, 3)); }), {"clone()"}));
  REQUIRE(says(error_of([&] { refused(w, b.to_sparse()); }), {"feedback for parameter 0 is sparse", "to_dense()"}));
  REQUIRE(says(error_of([&] { refused(w, b.to(torch::kMeta)); }), {"float32 on meta, expected"}));
  REQUIRE(says(error_of([&] { refused(w, w); }), {"shares its storage"}));
  const auto row = w[0];  // is to be left as it is, but lies in w
  REQUIRE(says(error_of([&] { creditlib::detail::ExchangedStorages({{w, row}, {b, {}}}); }), {"shares its storage"}));
  REQUIRE(says(error_of([&] { creditlib::detail::ExchangedStorages({{row, w}, {{}, b}}); }), {"shares its storage"}));
  REQUIRE(says(error_of([&] { (creditlib::detail::ExchangedStorages({{w, w.clone()}, {b, b}})); }),
               {"shares its storage"}));
  REQUIRE(says(error_of([&] { (creditlib::detail::ExchangedStorages({{w}, {}})); }), {"gave 0 tensors, expected 1"}));
}
