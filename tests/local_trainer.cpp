#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/schedule/switch_at.hpp>

#include "models.hpp"
#include "rules.hpp"
#include "sources.hpp"
#include "test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Credits with the shapes of h_0, f_0..f_{L-1}, for FixedCredit.
std::vector<torch::Tensor> arbitrary_credits(SequentialBlocks model, const Batch& batch, double scale = 1) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(21);
  std::vector<torch::Tensor> credits;
  auto h = model->embed(batch.x);
  credits.push_back(scale * torch::randn_like(h));
  for (std::int64_t l = 0; l < model->blocks(); ++l) {
    h = model->join(l, h, model->block(l, h));
    credits.push_back(scale * torch::randn_like(h));
  }
  return credits;
}

std::vector<torch::Tensor> gradients_of_parts(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> gradients;
  for (const auto& parameter : parameters) gradients.push_back(parameter.grad());
  return copies(gradients);
}

/// The norm of the gradients together.
double norm_of(const std::vector<torch::Tensor>& gradients) {
  double sum = 0;
  for (const auto& gradient : gradients) sum += gradient.square().sum().item<double>();
  return std::sqrt(sum);
}

/// InnerProduct and the penalty without their closed forms.
struct OnGraph {
  double lambda = 0;
  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const {
    return ((f * a).flatten(1).sum(1) + lambda * f.square().flatten(1).sum(1)).mean();
  }
};
struct NotScalar {
  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const { return f * a; }
};

/// Normalises by the largest number of each sample.
struct ByLargest {
  torch::Tensor operator()(torch::Tensor a) const { return a / a.abs().amax(1, true); }
};

/// A thousandth of cross-entropy, without `correct`.
struct SmallCrossEntropy {
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    return CrossEntropy{}.loss(logits, target) / 1000;
  }
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& target) const {
    return CrossEntropy{}.error(logits, target) / 1000;
  }
  void check(const torch::Tensor& logits, const torch::Tensor& target) const { CrossEntropy{}.check(logits, target); }
};

/// Says what it is asked.
struct RecordingSchedule {
  std::shared_ptr<std::vector<Progress>> asked = std::make_shared<std::vector<Progress>>();
  std::array<double, 1> weights(const Progress& progress) const {
    asked->push_back(progress);
    return {1};
  }
};

/// Trains at twice the hidden states.
struct AtTwiceTheStates {
  std::vector<torch::Tensor> given;
  std::vector<torch::Tensor> credit(auto&, const Trace&) const { return given; }
  std::vector<torch::Tensor> local_inputs(auto&, const Trace& trace) const {
    std::vector<torch::Tensor> states;
    for (const auto& h : trace.hidden) states.push_back(2 * h);
    return states;
  }
};
struct AtWrongStates {
  std::vector<torch::Tensor> states;
  std::vector<torch::Tensor> credit(auto&, const Trace& trace) const { return trace.hidden; }
  std::vector<torch::Tensor> local_inputs(auto&, const Trace&) const { return states; }
};

/// Writes down the first block's weight whenever it is called, and what grad mode is.
struct Witness {
  std::shared_ptr<std::vector<torch::Tensor>> weights = std::make_shared<std::vector<torch::Tensor>>();
  std::shared_ptr<std::vector<bool>> grad_modes = std::make_shared<std::vector<bool>>();

  void see(auto& model) const {
    weights->push_back(model->block_parameters(0)[0].detach().clone());
    grad_modes->push_back(torch::GradMode::is_enabled());
  }
  std::vector<torch::Tensor> credit(auto& model, const Trace& trace) const {
    see(model);
    return trace.hidden;
  }
  void learn(auto& model, const Trace&) { see(model); }
  void after_step(auto& model, const Trace&) { see(model); }
};

/// A network of a user's own, held by a shared_ptr.
struct OwnNetwork : torch::nn::Module {
  OwnNetwork()
      : first(register_module("first", torch::nn::Linear(6, 5))),
        second(register_module("second", torch::nn::Linear(5, 4))) {}
  torch::Tensor embed(torch::Tensor x) { return x; }
  std::int64_t blocks() const { return 1; }
  torch::Tensor block(std::int64_t, torch::Tensor h) { return torch::tanh(first(h)); }
  torch::Tensor join(std::int64_t, torch::Tensor, torch::Tensor f) { return f; }
  torch::Tensor readout(torch::Tensor h) { return second(h); }
  torch::Tensor forward(torch::Tensor x) { return readout(block(0, x)); }
  std::int64_t classes() const { return 4; }
  std::vector<std::int64_t> hidden_shape(std::int64_t l) const { return {l == 0 ? 6 : 5}; }
  std::vector<torch::Tensor> embed_parameters() const { return {}; }
  std::vector<torch::Tensor> block_parameters(std::int64_t) const { return first->parameters(); }
  std::vector<torch::Tensor> readout_parameters() const { return second->parameters(); }
  torch::nn::Linear first, second;
};

}  // namespace

TEST_CASE("credit that is all zero gives embed and blocks gradients of exactly zero", "[trainer]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    auto model = stages(kind);
    const auto batch = batch_for(kind);
    LocalTrainer trainer(model, FixedCredit{arbitrary_credits(model, batch, 0)});
    LocalTrainer other(model, FixedCredit{arbitrary_credits(model, batch, 1e-3)});

    trainer.step(batch.x, batch.y);

    for (const auto& gradient : gradients_of_parts(model->embed_parameters()))
      CHECK(gradient.abs().max().item<double>() == 0);
    for (std::int64_t l = 0; l < model->blocks(); ++l) {
      for (const auto& gradient : gradients_of_parts(model->block_parameters(l)))
        CHECK(gradient.abs().max().item<double>() == 0);
    }
    for (const auto& gradient : gradients_of_parts(model->readout_parameters()))
      CHECK(gradient.abs().max().item<double>() > 0);

    other.step(batch.x, batch.y);
    for (const auto& parameter : model->parameters()) CHECK(parameter.grad().abs().max().item<double>() > 0);
  }
}

TEST_CASE("arbitrary credit gives each block its own vector-Jacobian product", "[trainer]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto batch = batch_for(kind, torch::kFloat64);
    const auto credits = arbitrary_credits(model, batch);
    LocalTrainer trainer(model, Captured<FixedCredit>{{credits}}, {}, {}, Raw{});
    torch::manual_seed(3);
    trainer.step(batch.x, batch.y);
    auto used = copies(gradients_of(*model));
    // Each stage alone, at the hidden states that the step had, on the weights that it had.
    auto again = stages(kind, torch::kFloat64);
    const auto& hidden = trainer.state().traces->at(0).hidden;
    torch::manual_seed(3);
    const auto alone = [&](const torch::Tensor& output, const std::vector<torch::Tensor>& parameters,
                           const torch::Tensor& along) {
      return torch::autograd::grad({output}, parameters, {along}, false, false, true);
    };

    std::vector<torch::Tensor> expected;
    const auto append = [&](const std::vector<torch::Tensor>& gradients) {
      expected.insert(expected.end(), gradients.begin(), gradients.end());
    };
    const auto embedded = again->embed(batch.x);
    if (embedded.requires_grad()) append(alone(embedded, again->embed_parameters(), credits[0] / 7));
    for (std::int64_t l = 0; l < again->blocks(); ++l) {
      const auto at = static_cast<std::size_t>(l);
      append(alone(again->block(l, hidden[at]), again->block_parameters(l), credits[at + 1] / 7));
    }
    const auto logits = again->readout(hidden.back());
    append(alone(logits, again->readout_parameters(), plain_error(logits, batch.y) / 7));

    CHECK(distance(used, expected) < 1e-12);
  }
}

TEST_CASE("a block's gradient has nothing to do with the parameters beyond it", "[trainer]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    auto model = stages(kind);
    const auto batch = batch_for(kind);
    LocalTrainer trainer(model, FixedCredit{arbitrary_credits(model, batch)});
    torch::manual_seed(3);
    const auto before = trainer.gradients(batch.x, batch.y);
    const torch::NoGradGuard no_grad;
    for (std::int64_t l = 1; l < model->blocks(); ++l) {
      for (auto parameter : model->block_parameters(l)) parameter.normal_();
    }
    for (auto parameter : model->readout_parameters()) parameter.normal_();

    torch::manual_seed(3);
    const auto after = trainer.gradients(batch.x, batch.y);

    const auto own = model->embed_parameters().size() + model->block_parameters(0).size();
    for (std::size_t i = 0; i < own; ++i) CHECK(torch::equal(before[i], after[i]));
    for (std::size_t i = own; i < after.size(); ++i) CHECK_FALSE(torch::equal(before[i], after[i]));
  }
}

TEST_CASE("clipping is per block, as clip_grad_norm_ does it, and not of embed or readout", "[trainer]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer open(model, DFA{});
  open.step(batch.x, batch.y);
  std::vector<double> norms;
  for (std::int64_t l = 0; l < 3; ++l) norms.push_back(norm_of(gradients_of_parts(model->block_parameters(l))));
  auto sorted = norms;
  std::sort(sorted.begin(), sorted.end());
  const double clip = (sorted[0] + sorted[1]) / 2;  // one block is below
  REQUIRE(norm_of(gradients_of_parts(model->embed_parameters())) > clip);

  auto clipped = small_model(torch::kFloat64), reference = small_model(torch::kFloat64);
  LocalTrainer trainer(clipped, DFA{}, {.clip_norm = clip});
  LocalTrainer unclipped(reference, DFA{});
  const auto shown = trainer.gradients(batch.x, batch.y);
  trainer.step(batch.x, batch.y);
  unclipped.step(batch.x, batch.y);
  for (std::int64_t l = 0; l < 3; ++l) torch::nn::utils::clip_grad_norm_(reference->block_parameters(l), clip);

  CHECK(same(shown, gradients_of(*clipped)));
  CHECK(distance(gradients_of(*clipped), gradients_of(*reference)) < 1e-13);
  for (std::int64_t l = 0; l < 3; ++l) {
    const double norm = norm_of(gradients_of_parts(clipped->block_parameters(l)));
    CHECK(norm == Approx(std::min(norms[static_cast<std::size_t>(l)], clip)).epsilon(1e-5));
  }
}

TEST_CASE("with ClipScope::All the gradients of all parameters are clipped together", "[trainer]") {
  auto clipped = small_model(torch::kFloat64), reference = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer unclipped(reference, DFA{});
  unclipped.step(batch.x, batch.y);
  const double clip = norm_of(gradients_of(*reference)) / 3;
  LocalTrainer trainer(clipped, DFA{}, {.clip_norm = clip, .clip_scope = ClipScope::All});

  trainer.step(batch.x, batch.y);

  torch::nn::utils::clip_grad_norm_(reference->parameters(), clip);
  CHECK(distance(gradients_of(*clipped), gradients_of(*reference)) < 1e-13);
  CHECK(norm_of(gradients_of(*clipped)) == Approx(clip).epsilon(1e-5));
}

TEST_CASE("a step is one of torch.optim's with the gradients that .grad holds", "[trainer]") {
  const auto kind = GENERATE(Optimizer::AdamW, Optimizer::SGD);
  auto model = small_model(torch::kFloat64), other = small_model(torch::kFloat64);
  LocalTrainer trainer(model, FA{}, {.lr = 0.02, .weight_decay = 0.1, .optimizer = kind, .rate = Rate::Constant});
  std::unique_ptr<torch::optim::Optimizer> reference;
  if (kind == Optimizer::AdamW) {
    reference =
        std::make_unique<torch::optim::AdamW>(other->parameters(), torch::optim::AdamWOptions(0.02).weight_decay(0.1));
  } else {
    reference = std::make_unique<torch::optim::SGD>(other->parameters(),
                                                    torch::optim::SGDOptions(0.02).weight_decay(0.1).momentum(0.9));
  }

  for (std::uint64_t i = 0; i < 5; ++i) {
    const auto batch = batch_for(Kind::residual_mlp, torch::kFloat64, 7, i);
    trainer.step(batch.x, batch.y);
    const auto from = model->parameters();
    auto to = other->parameters();
    for (std::size_t p = 0; p < from.size(); ++p) to[p].mutable_grad() = from[p].grad().clone();
    reference->step();
  }

  CHECK(distance(model->parameters(), other->parameters()) < 1e-12);
}

TEST_CASE("the rate falls by epochs, and schedules see epoch, epochs and step", "[trainer]") {
  auto model = small_model();
  const auto batch = small_batch();
  RecordingSchedule schedule;
  LocalTrainer trainer(model, DFA{}, {.lr = 0.1, .epochs = 4}, schedule);
  const std::vector<double> rates{0.1, 0.1 * (2 + std::sqrt(2.0)) / 4, 0.05, 0.1 * (2 - std::sqrt(2.0)) / 4, 0, 0};

  for (std::size_t epoch = 0; epoch < rates.size(); ++epoch) {
    CHECK(trainer.rate() == Approx(rates[epoch]).margin(1e-15));
    for (int i = 0; i < 2; ++i) {
      schedule.asked->clear();
      trainer.step(batch.x, batch.y);
      REQUIRE_FALSE(schedule.asked->empty());
      for (const auto& progress : *schedule.asked) {
        CHECK(progress.epoch == static_cast<std::int64_t>(epoch));
        CHECK(progress.epochs == 4);
        CHECK(progress.step == static_cast<std::int64_t>(2 * epoch) + i);
      }
    }
    trainer.end_epoch();
  }
  CHECK(trainer.epoch() == 6);
  CHECK(trainer.steps() == 12);
}

TEST_CASE("past the last epoch nothing moves, weight decay included", "[trainer]") {
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer trainer(model, DFA{}, {.epochs = 1});
  trainer.end_epoch();
  const auto before = copies(model->parameters());

  trainer.step(batch.x, batch.y);

  CHECK(same(before, model->parameters()));
}

TEST_CASE("a step tells the mean loss and the number right before it, detached", "[trainer]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  const auto logits = model->forward(batch.x).detach();
  LocalTrainer trainer(model, DFA{});

  const auto result = trainer.step(batch.x, batch.y);

  double loss = 0;
  std::int64_t correct = 0;
  for (std::int64_t b = 0; b < 7; ++b) {
    loss -= logits[b].log_softmax(0)[batch.y[b].item<std::int64_t>()].item<double>() / 7;
    correct += logits[b].argmax().item<std::int64_t>() == batch.y[b].item<std::int64_t>();
  }
  CHECK(result.loss.item<double>() == Approx(loss));
  CHECK(result.loss.dim() == 0);
  CHECK_FALSE(result.loss.requires_grad());
  CHECK(result.correct.item<std::int64_t>() == correct);
}

TEST_CASE("frozen parameters stay as they are, weight decay included, and the others train", "[trainer]") {
  auto model = small_model(), free = small_model();
  const auto batch = small_batch();
  const auto is_frozen = [](const std::string& parameter) {
    return parameter.find("embed") == 0 || parameter.find("blocks.1") == 0 || parameter == "blocks.2.w1.weight";
  };
  for (auto& entry : model->named_parameters()) {
    if (is_frozen(entry.key())) entry.value().set_requires_grad(false);
  }
  const auto before = copies(model->parameters());
  LocalTrainer trainer(model, DFA{}, {.lr = 0.1, .clip_norm = 1e6});
  LocalTrainer all(free, DFA{}, {.lr = 0.1, .clip_norm = 1e6});

  const auto shown = trainer.gradients(batch.x, batch.y), of_all = all.gradients(batch.x, batch.y);
  trainer.step(batch.x, batch.y);

  std::size_t i = 0;
  for (const auto& entry : model->named_parameters()) {
    INFO(entry.key());
    CHECK(torch::equal(entry.value(), before[i]) == is_frozen(entry.key()));
    CHECK(shown[i].defined() == !is_frozen(entry.key()));
    if (shown[i].defined()) CHECK(distance(shown[i], of_all[i]) < 1e-6);
    ++i;
  }
}

TEST_CASE("credit comes first, then learning, then the update, which after_step sees", "[trainer]") {
  auto model = small_model();
  const auto batch = small_batch();
  Witness witness;
  LocalTrainer trainer(model, witness);
  const auto before = model->block_parameters(0)[0].detach().clone();

  const torch::NoGradGuard no_grad;  // grad mode is the trainer's own affair
  trainer.step(batch.x, batch.y);

  REQUIRE(witness.weights->size() == 3);
  CHECK(torch::equal(witness.weights->at(0), before));
  CHECK(torch::equal(witness.weights->at(1), before));
  CHECK(torch::equal(witness.weights->at(2), model->block_parameters(0)[0]));
  CHECK_FALSE(torch::equal(witness.weights->at(2), before));
  CHECK_FALSE(witness.grad_modes->at(0));
  CHECK(witness.grad_modes->at(1));
  CHECK_FALSE(torch::GradMode::is_enabled());

  Recorder recorder;
  LocalTrainer other(model, recorder);
  other.step(batch.x, batch.y);
  CHECK(*recorder.calls == std::vector<std::string>{"credit", "learn", "after_step"});
  other.learn(batch.x, batch.y);
  CHECK(recorder.calls->back() == "learn");
}

TEST_CASE("a step is the same with grad mode off around it", "[trainer]") {
  auto model = small_model(), other = small_model();
  const auto batch = small_batch();
  LocalTrainer trainer(model, Oracle{});
  LocalTrainer outside(other, Oracle{});
  trainer.step(batch.x, batch.y);
  {
    const torch::NoGradGuard no_grad;
    outside.step(batch.x, batch.y);
    CHECK(outside.credits(batch.x, batch.y).size() == 4);
  }

  CHECK(same(model->parameters(), other->parameters()));
  CHECK(torch::GradMode::is_enabled());
}

TEST_CASE("local_inputs run blocks and readout again at other states, and statistics only once", "[trainer]") {
  for (const auto kind : {Kind::plain, Kind::batch_norm, Kind::no_embed}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64), again = stages(kind, torch::kFloat64),
         once = stages(kind, torch::kFloat64);
    const auto batch = batch_for(kind, torch::kFloat64);
    const auto credits = arbitrary_credits(stages(kind, torch::kFloat64), batch);
    LocalTrainer trainer(model, AtTwiceTheStates{credits}, {}, {}, Raw{});
    const double loss_before = torch::nn::functional::cross_entropy(once->forward(batch.x), batch.y).item<double>();

    const auto shown = trainer.gradients(batch.x, batch.y);
    const auto result = trainer.step(batch.x, batch.y);

    std::vector<torch::Tensor> expected;
    const auto append = [&](const torch::Tensor& output, const std::vector<torch::Tensor>& parameters,
                            const torch::Tensor& along) {
      const auto gradients = torch::autograd::grad({output}, parameters, {along}, false, false, true);
      expected.insert(expected.end(), gradients.begin(), gradients.end());
    };
    const auto embedded = again->embed(batch.x);
    if (embedded.requires_grad()) append(embedded, again->embed_parameters(), credits[0] / 7);
    auto h = embedded.detach();
    for (std::int64_t l = 0; l < again->blocks(); ++l) {
      append(again->block(l, 2 * h), again->block_parameters(l), credits[static_cast<std::size_t>(l) + 1] / 7);
      h = again->join(l, h, again->block(l, h)).detach();
    }
    const auto logits = again->readout(2 * h);
    append(logits, again->readout_parameters(), plain_error(logits, batch.y) / 7);
    CHECK(distance(gradients_of(*model), expected) < 1e-12);
    CHECK(same(gradients_of(*model), shown));
    CHECK(same(copies(model->buffers()), copies(once->buffers())));
    CHECK(result.loss.item<double>() == Approx(loss_before));
  }
}

TEST_CASE("local_inputs that do not fit are refused", "[trainer]") {
  auto model = stages(Kind::plain);
  const auto batch = batch_for(Kind::plain);
  const auto message = [&](std::vector<torch::Tensor> states) {
    LocalTrainer trainer(model, AtWrongStates{states});
    return error_of([&] { trainer.step(batch.x, batch.y); });
  };
  const auto zeros = [](std::int64_t d) { return torch::zeros({7, d}); };

  CHECK(message({zeros(5), zeros(5), zeros(8), zeros(3)}) == "(nothing was thrown)");
  CHECK(says(message({zeros(5)}), {"local_inputs gave 1 states, expected 4"}));
  CHECK(says(message({zeros(5), zeros(4), zeros(8), zeros(3)}), {"local_inputs", "h'_1", "(7, 4)", "expected (7, 5)"}));
  CHECK(says(message({zeros(5), zeros(5), torch::Tensor(), zeros(3)}), {"local_inputs", "h'_2", "undefined"}));
}

TEST_CASE("a local loss without a closed form trains as one with it", "[trainer]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::tokens}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto batch = batch_for(kind, torch::kFloat64);
    LocalTrainer closed(model, DFA{});
    LocalTrainer graph(model, DFA{}, {}, {}, {}, OnGraph{});
    LocalTrainer penalised(model, DFA{}, {}, {}, {}, PenalizedInnerProduct{.lambda = 0.2});
    LocalTrainer own(model, DFA{}, {}, {}, {}, OnGraph{.lambda = 0.2});

    CHECK(distance(closed.gradients(batch.x, batch.y), graph.gradients(batch.x, batch.y)) < 1e-12);
    CHECK(distance(penalised.gradients(batch.x, batch.y), own.gradients(batch.x, batch.y)) < 1e-12);
    CHECK(distance(closed.gradients(batch.x, batch.y), penalised.gradients(batch.x, batch.y)) > 1e-3);
  }
  LocalTrainer trainer(small_model(), DFA{}, {}, {}, {}, NotScalar{});
  CHECK(says(error_of([&] { trainer.step(small_batch().x, small_batch().y); }), {"local loss", "(7, 5)", "scalar"}));
}

TEST_CASE("the embed's loss has the local loss's reduction, and no penalty", "[trainer]") {
  auto model = stages(Kind::conv, torch::kFloat64);
  const auto batch = batch_for(Kind::conv, torch::kFloat64);
  LocalTrainer sum(model, DFA{});
  LocalTrainer mean(model, DFA{}, {}, {}, {}, InnerProduct{.mean_over_positions = true});
  LocalTrainer penalised(model, DFA{}, {}, {}, {}, PenalizedInnerProduct{.lambda = 9});

  const auto a = sum.gradients(batch.x, batch.y), b = mean.gradients(batch.x, batch.y),
             c = penalised.gradients(batch.x, batch.y);

  const auto last_block = model->embed_parameters().size() + model->block_parameters(0).size();
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(distance(a[i], 36 * b[i]) < 1e-12);
    CHECK(distance(a[i], c[i]) < 1e-12);
  }
  CHECK(distance(a[last_block], 9 * b[last_block]) < 1e-12);
  CHECK(distance(a.back(), b.back()) < 1e-12);
}

TEST_CASE("normalizers, objectives and schedules of a user's own work", "[trainer]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, DFA{}, {}, RecordingSchedule{}, ByLargest{}, {}, SmallCrossEntropy{});
  LocalTrainer plain(model, DFA{});

  const auto raw = trainer.raw_credits(batch.x, batch.y), credits = trainer.credits(batch.x, batch.y);
  const auto raw_of_plain = plain.raw_credits(batch.x, batch.y);
  const auto a = trainer.gradients(batch.x, batch.y), b = plain.gradients(batch.x, batch.y);
  const auto result = trainer.step(batch.x, batch.y);

  CHECK(distance(1000 * raw[1], raw_of_plain[1]) < 1e-12);
  for (std::int64_t i = 0; i < 7; ++i) CHECK(credits[2][i].abs().max().item<double>() == Approx(1));
  CHECK(distance(1000 * a.back(), b.back()) < 1e-12);
  CHECK(result.correct.item<std::int64_t>() == 0);
  CHECK(result.correct.scalar_type() == torch::kInt64);
}

TEST_CASE("each rule learns a task of two clusters", "[trainer]") {
  torch::manual_seed(4);
  const auto y = torch::randint(2, {64});
  const auto x = torch::randn({64, 6}) + (2 * y.to(torch::kFloat32) - 1).unsqueeze(1);
  const auto end = [&](auto rule, double lambda) {
    torch::manual_seed(8);
    auto model = ResidualMLP({.input = 6, .width = 16, .classes = 2, .blocks = 2});
    LocalTrainer trainer(model, rule, {.lr = 5e-3}, {}, {}, PenalizedInnerProduct{.lambda = lambda});
    double last = 0;
    for (int i = 0; i < 60; ++i) last = trainer.step(x, y).loss.template item<double>();
    return last;
  };

  CHECK(end(DFA{}, 0.01) < 0.2);
  CHECK(end(FA{}, 0.01) < 0.2);
  CHECK(end(Oracle{}, 0.01) < 0.2);
}

TEST_CASE("a Trace is one forward pass, detached", "[trainer]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, Captured<Oracle>{}, {}, {}, Raw{});
  const auto logits = model->forward(batch.x).detach();
  trainer.credits(batch.x, batch.y);
  const auto trace = trainer.state().traces->at(0);

  CHECK(trace.input.is_same(batch.x));
  CHECK(trace.target.is_same(batch.y));
  REQUIRE(trace.hidden.size() == 4);
  REQUIRE(trace.branch.size() == 3);
  CHECK(distance(trace.hidden[0], model->embed(batch.x)) < 1e-15);
  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(distance(trace.branch[l], model->block(static_cast<std::int64_t>(l), trace.hidden[l])) < 1e-14);
    CHECK(distance(trace.hidden[l + 1], trace.hidden[l] + trace.branch[l]) < 1e-14);
    CHECK_FALSE(trace.branch[l].requires_grad());
    CHECK_FALSE(trace.hidden[l].requires_grad());
  }
  CHECK_FALSE(trace.logits.requires_grad());
  CHECK(distance(trace.logits, logits) < 1e-14);
  CHECK(distance(trace.error, plain_error(logits, batch.y)) < 1e-13);
  CHECK(distance(trace.loss_gradient(), trainer.raw_credits(batch.x, batch.y)[3]) < 1e-14);
}

TEST_CASE("what a Trace cannot give it refuses in a sentence", "[trainer]") {
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer trainer(model, Captured<Oracle>{});
  LocalTrainer blind(model, Captured<FixedCredit>{{std::vector<torch::Tensor>(4, torch::zeros({7, 5}))}});
  trainer.credits(batch.x, batch.y);
  const auto trace = trainer.state().traces->at(0);
  blind.step(batch.x, batch.y);
  const auto released = blind.state().traces->at(0);
  const auto v = torch::ones({7, 5});

  CHECK(error_of([&] { trace.pullback(2, v); }) == "(nothing was thrown)");
  CHECK(says(error_of([&] { trace.pullback(3, v); }), {"block 3 does not exist", "0..2"}));
  CHECK(says(error_of([&] { trace.pullback(-1, v); }), {"block -1 does not exist"}));
  CHECK(says(error_of([&] { released.pullback(1, v); }), {"wants_pullback"}));
  CHECK(says(error_of([&] { released.loss_gradient(); }), {"used the graph up"}));
  CHECK(says(error_of([&] { Trace().loss_gradient(); }), {"not made by a trainer"}));
}

TEST_CASE("pullback is the block's transposed Jacobian, also of one value a channel", "[trainer]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::tokens}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto batch = batch_for(kind, torch::kFloat64);
    LocalTrainer trainer(model, Captured<Oracle>{});
    trainer.credits(batch.x, batch.y);
    const auto trace = trainer.state().traces->at(0);

    for (std::size_t l = 0; l < trace.branch.size(); ++l) {
      const auto at = static_cast<std::int64_t>(l);
      const auto h = trace.hidden[l].clone().requires_grad_();
      const auto next = model->join(at, h, model->block(at, h));
      const auto v = one_a_feature(torch::randn({7, features(model->hidden_shape(at + 1))}, torch::kFloat64),
                                   model->hidden_shape(at + 1));

      CHECK(distance(trace.pullback(at, v), torch::autograd::grad({(next * v).sum()}, {h})[0]) < 1e-12);
    }
  }
}

TEST_CASE("a trainer leaves train and eval mode alone", "[trainer]") {
  for (const bool training : {true, false}) {
    auto model = stages(Kind::batch_norm);
    const auto batch = batch_for(Kind::batch_norm);
    model->train(training);
    const auto statistics = copies(model->buffers());
    LocalTrainer trainer(model, DFA{});
    trainer.credits(batch.x, batch.y);
    trainer.step(batch.x, batch.y);

    for (const auto& module : model->modules()) CHECK(module->is_training() == training);
    CHECK(same(statistics, copies(model->buffers())) == !training);
  }
}

TEST_CASE("a trainer moves with all that it has", "[trainer]") {
  const auto batch = small_batch();
  auto model = small_model(), other = small_model();
  LocalTrainer stays(model, NoisyProjection{}, {.seed = 3});
  LocalTrainer first(other, NoisyProjection{}, {.seed = 3});
  stays.step(batch.x, batch.y);
  first.step(batch.x, batch.y);

  LocalTrainer moved = std::move(first);
  LocalTrainer assigned(small_model(), NoisyProjection{});
  assigned = std::move(moved);
  stays.step(batch.x, batch.y);
  assigned.step(batch.x, batch.y);

  CHECK(same(model->parameters(), other->parameters()));
  CHECK(assigned.steps() == 2);
  CHECK(assigned.options().seed == 3);
  using Trainer = decltype(stays);
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<Trainer>);
  STATIC_REQUIRE_FALSE(std::is_copy_assignable_v<Trainer>);
}

TEST_CASE("template arguments are deduced, and {} skips an argument", "[trainer]") {
  auto model = small_model();
  LocalTrainer two(model, DFA{});
  LocalTrainer options(model, FA{}, {.epochs = 3, .seed = 1});
  LocalTrainer skipped(model, Oracle{}, {}, {}, Raw{}, PenalizedInnerProduct{.lambda = 1});
  LocalTrainer scheduled(model, Mix{DFA{}, FA{}}, {}, SwitchAt{.epoch = 2});
  LocalTrainer objective(model, Mix{DFA{}, Oracle{.at = CreditPoint::BlockInput}}, {}, SwitchAt{}, {}, {},
                         SquaredError{});
  LocalTrainer<ResidualMLP, DFA> named(model);

  STATIC_REQUIRE(
      std::is_same_v<decltype(two), LocalTrainer<ResidualMLP, DFA, Always, RowRms, InnerProduct, CrossEntropy>>);
  STATIC_REQUIRE(std::is_same_v<decltype(options), LocalTrainer<ResidualMLP, FA>>);
  STATIC_REQUIRE(
      std::is_same_v<decltype(skipped), LocalTrainer<ResidualMLP, Oracle, Always, Raw, PenalizedInnerProduct>>);
  STATIC_REQUIRE(std::is_same_v<decltype(scheduled), LocalTrainer<ResidualMLP, Mix<DFA, FA>, SwitchAt>>);
  STATIC_REQUIRE(
      std::is_same_v<decltype(objective),
                     LocalTrainer<ResidualMLP, Mix<DFA, Oracle>, SwitchAt, RowRms, InnerProduct, SquaredError>>);
  STATIC_REQUIRE(std::is_same_v<decltype(named), decltype(two)>);
  CHECK(options.options().epochs == 3);
  CHECK(named.options().seed == 42);
}

TEST_CASE("a model held by a shared_ptr trains", "[trainer]") {
  const auto model = std::make_shared<OwnNetwork>();
  const auto batch = small_batch();
  LocalTrainer trainer(model, FA{}, {.lr = 0.05});
  LocalTrainer exact(model, Oracle{});
  const double before = trainer.step(batch.x, batch.y).loss.item<double>();
  for (int i = 0; i < 30; ++i) trainer.step(batch.x, batch.y);

  CHECK(trainer.step(batch.x, batch.y).loss.item<double>() < before / 2);
  CHECK_FALSE(exact.credits(batch.x, batch.y)[0].defined());
}
