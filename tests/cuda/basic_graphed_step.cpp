// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/forward_dfa.hpp>
#include <creditlib/credit/forward_gradient.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/cuda/detail/basic_graphed_step.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/rate/warmup_cosine.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../late_objectives.hpp"
#include "../models.hpp"
#include "../rules.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// A device whose graphs are the steps themselves: a capture runs the step and puts the trainer back, a replay runs it
/// again on the graph's own batch and writes the gradients into those that the capture made.
template <class Trainer>
class FakeDevice {
 public:
  class Graph {
   public:
    Graph(Trainer& trainer, std::function<void()> action) : trainer_(trainer), action_(std::move(action)) {}
    void replay() {
      action_();
      const auto parameters = trainer_.model()->parameters();
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (gradients[i].defined()) gradients[i].copy_(parameters[i].grad());
      }
    }
    std::int64_t nodes() const { return 1; }
    std::vector<torch::Tensor> gradients;

   private:
    Trainer& trainer_;
    std::function<void()> action_;
  };

  using Lane = FakeDevice;

  explicit FakeDevice(Trainer& trainer) : trainer_(&trainer), folder_(std::make_shared<TemporaryFolder>()) {}
  Lane lane() const { return *this; }

  template <class Action>
  auto eagerly(const Action& action) {
    return action();
  }
  template <class Action>
  std::unique_ptr<Graph> capture(const Action& action) {
    const auto kept = *folder_ / "before.pt";
    trainer_->save(kept);
    auto graph = std::make_unique<Graph>(*trainer_, action);
    action();
    for (const auto& parameter : trainer_->model()->parameters()) graph->gradients.push_back(parameter.grad());
    auto generators = creditlib::detail::TrainerAccess::generators(*trainer_);
    std::vector<torch::Tensor> drawn;  // a device knows nothing of the host's generators
    for (auto& generator : generators) drawn.push_back(generator.get_state());
    trainer_->load(kept);
    for (std::size_t i = 0; i < generators.size(); ++i) generators[i].set_state(drawn[i]);
    return graph;
  }

 private:
  Trainer* trainer_;
  std::shared_ptr<TemporaryFolder> folder_;
};

template <class Credit>
using TrainerOf = LocalTrainer<ResidualMLP, Credit>;
static_assert(cuda::Graphable<BackpropTrainer<ResidualMLP>> && cuda::Graphable<TrainerOf<DFA>> &&
              cuda::Graphable<TrainerOf<Oracle>>);
static_assert(!cuda::Graphable<TrainerOf<ForwardGradient>> && !cuda::Graphable<TrainerOf<ForwardDFA>>);
static_assert(!cuda::Graphable<TrainerOf<Vec>> && !cuda::Graphable<TrainerOf<EquilibriumPropagation>>);
static_assert(cuda::Graphable<LocalTrainer<ResidualMLP, Mix<DFA, FA>, SwitchAt>> &&
              !cuda::Graphable<LocalTrainer<ResidualMLP, Mix<DFA, Vec>, SwitchAt>>);

template <class Trainer>
struct Graphed : creditlib::detail::BasicGraphedStep<Trainer, FakeDevice<Trainer>> {
  explicit Graphed(Trainer& trainer, const cuda::GraphOptions& options = {})
      : creditlib::detail::BasicGraphedStep<Trainer, FakeDevice<Trainer>>(trainer, FakeDevice<Trainer>(trainer),
                                                                          options) {}
};

/// Five epochs of three batches and a short one; calls look(loss) after each step.
template <class Trainer, class Step, class Look>
void run(Trainer& trainer, Kind kind, const Step& step, const Look& look) {
  for (int epoch = 0; epoch < 5; ++epoch) {
    for (std::uint64_t i = 0; i < 4; ++i) {
      const auto [x, y] = batch_for(kind, torch::kFloat32, i < 3 ? 7 : 4, 100 + i);
      look(step(x, y).loss);
    }
    trainer.end_epoch();
  }
}

/// A run with graphs is the run without, to the bit: losses, gradients, steps, what the observer sees, and the network.
template <class Make>
void check_same_run(Kind kind, const Make& make, std::int64_t captures) {
  auto plain = make(), other = make();
  Graphed graphed(other);
  std::vector<std::int64_t> observed, observed_graphed;
  plain.observe(3, [&](auto& trainer, const auto&, const auto&) { observed.push_back(trainer.steps()); });
  other.observe(3, [&](auto& trainer, const auto& x, const auto& y) {
    trainer.credits(x, y);
    observed_graphed.push_back(trainer.steps());
  });
  std::vector<torch::Tensor> expected, losses;
  run(
      plain, kind, [&](const auto& x, const auto& y) { return plain.step(x, y); },
      [&](const auto& loss) {
        expected.push_back(loss.clone());
        for (const auto& gradient : gradients_of(*plain.model())) expected.push_back(gradient);
      });

  run(
      other, kind, [&](const auto& x, const auto& y) { return graphed.step(x, y); },
      [&](const auto& loss) {
        losses.push_back(loss.clone());
        for (const auto& gradient : gradients_of(*other.model())) losses.push_back(gradient);
      });

  CHECK(same(losses, expected));
  CHECK(same(copies(other.model()->parameters()), copies(plain.model()->parameters())));
  CHECK(same(copies(other.model()->buffers()), copies(plain.model()->buffers())));
  CHECK(other.steps() == plain.steps());
  CHECK(observed_graphed == observed);
  CHECK(graphed.captures() == captures);
  CHECK(graphed.nodes() == 1);
}

/// Credit along the hidden states themselves, as far as the loss falls along them.
struct AlongStates {
  static constexpr bool wants_pushforward = true;

  template <class Model>
  std::vector<torch::Tensor> credit(Model&, const Trace& trace) const {
    const auto slope = (trace.error * trace.pushforward(trace.hidden)).sum(1);
    std::vector<torch::Tensor> credits;
    for (const auto& h : trace.hidden) credits.push_back(h * slope.unsqueeze(1));
    return credits;
  }
};

/// Credit that throws at the fourth step.
struct Failing {
  template <class Model>
  std::vector<torch::Tensor> credit(Model&, const Trace& trace) const {
    if (++*calls == 4) throw Error("not this one");
    return trace.hidden;
  }
  std::shared_ptr<int> calls = std::make_shared<int>(0);
};

}  // namespace

TEST_CASE("a run with graphs is the run without: DFA by formula and by autograd", "[cuda]") {
  for (const auto path : {Path::ClosedForm, Path::Generic}) {
    check_same_run(
        Kind::residual_mlp, [&] { return LocalTrainer(residual_mlp(), DFA{}, {.epochs = 5, .path = path}); }, 2);
  }
}

TEST_CASE("a run with graphs is the run without: constant memory, clipping and SGD", "[cuda]") {
  check_same_run(
      Kind::residual_mlp,
      [] {
        return LocalTrainer(
            residual_mlp(), DFA{},
            {.lr = 1e-2, .clip_norm = 0.1, .epochs = 5, .optimizer = Optimizer::SGD, .memory = Memory::Constant});
      },
      2);
}

TEST_CASE("a run with graphs is the run without: the oracle under BatchNorm, FA on images", "[cuda]") {
  check_same_run(Kind::batch_norm, [] { return LocalTrainer(stages(Kind::batch_norm), Oracle{}, {.epochs = 5}); }, 2);
  check_same_run(Kind::conv, [] { return LocalTrainer(stages(Kind::conv), FA{}, {.epochs = 5}); }, 2);
}

TEST_CASE("a run with graphs is the run without: credit that pushes forward", "[cuda]") {
  for (const auto path : {Path::ClosedForm, Path::Generic}) {
    check_same_run(
        Kind::residual_mlp, [&] { return LocalTrainer(residual_mlp(), AlongStates{}, {.epochs = 5, .path = path}); },
        2);
  }
  check_same_run(
      Kind::batch_norm, [] { return LocalTrainer(stages(Kind::batch_norm), AlongStates{}, {.epochs = 5}); }, 2);
}

TEST_CASE("a run with graphs is the run without: back-propagation", "[cuda]") {
  check_same_run(Kind::residual_mlp, [] { return BackpropTrainer(residual_mlp(), {.epochs = 5}); }, 2);
  check_same_run(Kind::tokens, [] { return BackpropTrainer(stages(Kind::tokens), {.epochs = 5}); }, 2);
}

TEST_CASE("a run with graphs is the run without: a schedule that switches", "[cuda]") {
  // Full batches are captured before the switch and after it, the short one of an epoch not before it has been met four
  // times.
  check_same_run(
      Kind::residual_mlp,
      [] { return LocalTrainer(residual_mlp(), Mix{DFA{}, FA{}}, {.epochs = 5}, SwitchAt{.epoch = 2}); }, 2);
}

TEST_CASE("a run with graphs is the run without: a rate that changes with every step, rates of parts, clips",
          "[cuda]") {
  check_same_run(
      Kind::residual_mlp,
      [] {
        return LocalTrainer(residual_mlp(), DFA{}, {.lr = 1e-2, .epochs = 5, .lr_factors = {.readout = 10}},
                            rate::WarmupCosine{.steps = 8, .total = 20}, clip::ByAll{.norm = 0.1});
      },
      2);
}

TEST_CASE("a graph refuses what it could not repeat, and a step that is not finished", "[cuda][errors]") {
  const auto [x, y] = small_batch();
  auto model = small_model();
  LocalTrainer adam(model, DFA{}, {}, torch::optim::Adam(model->parameters(), 1e-3));
  Graphed graphed_adam(adam);
  CHECK(says(error_of([&] { graphed_adam.step(x, y); }),
             {"cuda::GraphedStep", "its optimizer does not declare", "graphable"}));

  LocalTrainer trainer(model, DFA{});
  Graphed graphed(trainer);
  trainer.track_norms();
  CHECK(says(error_of([&] { graphed.step(x, y); }), {"tracks norms"}));
  trainer.track_norms(false);
  trainer.backward(x, y);
  CHECK(says(error_of([&] { graphed.step(x, y); }), {"backward was called"}));
  trainer.end_step();
  graphed.step(x, y);
  CHECK(trainer.steps() == 2);
}

TEST_CASE("a change between train and eval mode makes new graphs", "[cuda]") {
  LocalTrainer trainer(stages(Kind::batch_norm), DFA{});
  Graphed graphed(trainer, {.warm_up = 1});
  const auto [x, y] = batch_for(Kind::batch_norm);
  for (int i = 0; i < 3; ++i) graphed.step(x, y);
  REQUIRE(graphed.captures() == 1);

  trainer.model()->eval();
  const auto statistics = copies(trainer.model()->buffers());
  for (int i = 0; i < 3; ++i) graphed.step(x, y);

  CHECK(graphed.captures() == 2);
  CHECK(same(copies(trainer.model()->buffers()), statistics));
}

TEST_CASE("a graph has its own batch: the caller's may be gone", "[cuda]") {
  LocalTrainer trainer(small_model(), DFA{}), plain(small_model(), DFA{});
  Graphed graphed(trainer, {.warm_up = 1});
  for (std::uint64_t i = 0; i < 4; ++i) {
    auto [x, y] = batch_for(Kind::residual_mlp, torch::kFloat32, 7, i);
    plain.step(x, y);
    graphed.step(x, y);
    x.fill_(NAN);
  }

  CHECK(same(copies(trainer.model()->parameters()), copies(plain.model()->parameters())));
}

TEST_CASE("steps that draw on the host are refused, in a source and in a layer, and nothing has happened", "[cuda]") {
  const auto [x, y] = small_batch();
  LocalTrainer noisy(small_model(), HiddenDraws{});
  Graphed graphed(noisy, {.warm_up = 1});
  graphed.step(x, y);
  const auto before = copies(noisy.model()->parameters()), gradients = gradients_of(*noisy.model());

  CHECK(says(error_of([&] { graphed.step(x, y); }), {"draws random numbers on the host", "use trainer.step"}));
  CHECK(same(copies(noisy.model()->parameters()), before));
  CHECK(same(gradients_of(*noisy.model()), gradients));
  CHECK(noisy.steps() == 1);

  LocalTrainer dropping(stages(Kind::dropout), DFA{});
  Graphed graphed_dropping(dropping, {.warm_up = 1});
  graphed_dropping.step(x, y);
  const auto generator = global_generator_state();
  CHECK(says(error_of([&] { graphed_dropping.step(x, y); }), {"draws random numbers on the host"}));
  CHECK(torch::equal(global_generator_state(), generator));
}

TEST_CASE("a label out of range is found in eager steps, captured ones and replays, with its step", "[cuda]") {
  const auto [x, y] = small_batch();
  auto wrong = y.clone();
  wrong[2] = -1;
  for (const std::int64_t bad : {1, 2, 3, 4}) {  // two to warm up, one to capture, a replay
    INFO("in step " << bad);
    LocalWithLate trainer(small_model(), {});
    Graphed graphed(trainer, {.warm_up = 2});
    for (std::int64_t step = 1; step <= bad; ++step) graphed.step(x, step == bad ? wrong : y);
    CHECK(graphed.captures() == (bad > 2 ? 1 : 0));

    CHECK(says(error_of([&] { graphed.step(x, y); }),
               {"CrossEntropy: a label is -1, expected 0..", "in the batch of step " + std::to_string(bad) + " "}));
    CHECK(trainer.steps() == bad);
    for (int i = 0; i < 4; ++i) graphed.step(x, y);
    CHECK_NOTHROW(trainer.end_epoch());
    CHECK(trainer.steps() == bad + 4);
  }
}

TEST_CASE("after a capture that throws the trainer is as before, and training goes on", "[cuda]") {
  const auto [x, y] = small_batch();
  LocalTrainer trainer(small_model(), Failing{});
  Graphed graphed(trainer);
  for (int i = 0; i < 3; ++i) graphed.step(x, y);
  const auto before = copies(trainer.model()->parameters()), gradients = gradients_of(*trainer.model());

  CHECK(error_of([&] { graphed.step(x, y); }) == "not this one");
  CHECK(same(copies(trainer.model()->parameters()), before));
  CHECK(same(gradients_of(*trainer.model()), gradients));
  CHECK(trainer.steps() == 3);

  graphed.step(x, y);
  CHECK(trainer.steps() == 4);
  CHECK(graphed.captures() == 1);
}

TEST_CASE("what does not fit is said as a trainer says it", "[cuda]") {
  const auto [x, y] = small_batch();
  LocalTrainer trainer(small_model(), DFA{});
  Graphed graphed(trainer, {.warm_up = 1});
  for (int i = 0; i < 2; ++i) graphed.step(x, y);

  CHECK(says(error_of([&] { graphed.step({}, y); }), {"The batch x is"}));
  CHECK(says(error_of([&] { graphed.step(x.to(torch::kFloat64), y); }), {"The batch x is", "float64"}));
  CHECK(says(error_of([&] { graphed.step(x, y.narrow(0, 0, 3)); }), {"one for each of the 7 samples"}));
  CHECK(trainer.steps() == 2);
  CHECK(graphed.graphs() == 1);
}
