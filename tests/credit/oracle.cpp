// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>

#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

template <class Action>
void on_model(Kind kind, const Action& action) {
  if (kind == Kind::residual_mlp) {
    action(residual_mlp(torch::kFloat64));
  } else {
    action(stages(kind, torch::kFloat64));
  }
}

/// The loss of each sample from h_l on, (B).
template <class Model>
torch::Tensor losses_from(Model& model, std::int64_t l, torch::Tensor h, const torch::Tensor& y) {
  const torch::NoGradGuard no_grad;
  for (; l < model->blocks(); ++l) h = model->join(l, h, model->block(l, h));
  return -model->readout(h).log_softmax(1).gather(1, y.unsqueeze(1)).squeeze(1);
}

/// The largest distance of two gradients' derivatives along random directions: credit's inner product with them, and
/// the change of the loss. Per sample where a sample's loss is its own, else of the batch's sum.
template <class Rule>
double from_finite_differences(Kind kind, const Rule& rule) {
  double most = 0;
  on_model(kind, [&](auto model) {
    const auto batch = batch_for(kind, torch::kFloat64);
    LocalTrainer trainer(model, rule, {}, {}, Raw{});
    const auto credits = trainer.raw_credits(batch.x, batch.y);
    std::vector<torch::Tensor> hidden{model->embed(batch.x).detach()};
    for (std::int64_t l = 0; l < model->blocks(); ++l) {
      hidden.push_back(model->join(l, hidden.back(), model->block(l, hidden.back())).detach());
    }

    constexpr double step = 1e-5;
    for (std::size_t l = 0; l < credits.size(); ++l) {
      if (!credits[l].defined()) continue;
      for (int direction = 0; direction < 4; ++direction) {
        const auto v = torch::randn_like(hidden[l]);
        const auto at = static_cast<std::int64_t>(l);
        auto measured = (losses_from(model, at, hidden[l] + step * v, batch.y) -
                         losses_from(model, at, hidden[l] - step * v, batch.y)) /
                        (2 * step);
        auto expected = (credits[l] * v).flatten(1).sum(1);
        if (mixes_samples(kind)) {
          measured = measured.sum();
          expected = expected.sum();
        }
        most = std::max(most, distance(expected, measured));
      }
    }
  });
  return most;
}

/// An oracle with a fault.
template <class Fault>
struct MutatedOracle {
  static constexpr bool wants_pullback = true;
  std::vector<torch::Tensor> credit(auto& model, const Trace& trace) const {
    auto credits = Oracle{}.credit(model, trace);
    Fault::apply(credits);
    return credits;
  }
};
struct WrongSign {
  static void apply(std::vector<torch::Tensor>& credits) { credits[0] = -credits[0]; }
};
struct OfMeanLoss {
  static void apply(std::vector<torch::Tensor>& credits) {
    for (auto& a : credits) a = a / a.size(0);
  }
};
struct LeavesOutOneBlock {
  static void apply(std::vector<torch::Tensor>& credits) { credits[0] = credits[1]; }
};

}  // namespace

TEST_CASE("Oracle with Raw and InnerProduct has back-propagation's own gradients on every model", "[credit]") {
  for (const auto kind : every_kind) {
    for (const bool training : {true, false}) {
      INFO("on " << name(kind) << (training ? "" : " in eval mode"));
      on_model(kind, [&](auto model) {
        model->train(training);
        const auto batch = batch_for(kind, torch::kFloat64);
        LocalTrainer trainer(model, Oracle{}, {}, {}, Raw{});
        BackpropTrainer back(model);

        torch::manual_seed(3);  // the same dropout masks in both
        const auto local = trainer.gradients(batch.x, batch.y);
        torch::manual_seed(3);
        const auto whole = back.gradients(batch.x, batch.y);

        CHECK(local.size() == model->parameters().size());
        CHECK(distance(local, whole) < 1e-12);
        for (const auto& gradient : whole) CHECK(gradient.abs().max().template item<double>() > 0);
      });
    }
  }
}

TEST_CASE("Oracle's credits are BackpropTrainer's", "[credit]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    on_model(kind, [&](auto model) {
      const auto batch = batch_for(kind, torch::kFloat64);
      LocalTrainer trainer(model, Oracle{});
      BackpropTrainer back(model);
      torch::manual_seed(3);
      const auto local = trainer.raw_credits(batch.x, batch.y);
      torch::manual_seed(3);
      const auto whole = back.credits(batch.x, batch.y);

      CHECK(distance(local, whole) < 1e-12);
      CHECK(whole[0].defined() == (kind != Kind::no_embed));
    });
  }
}

TEST_CASE("a run with Oracle, Raw and InnerProduct is a run of back-propagation", "[credit]") {
  for (const auto kind : {Kind::residual_mlp, Kind::batch_norm, Kind::dropout}) {
    INFO("on " << name(kind));
    std::vector<std::vector<torch::Tensor>> ends;
    for (const bool local : {true, false}) {
      on_model(kind, [&](auto model) {
        const TrainerOptions options{.lr = 1e-2, .clip_norm = 0.2, .epochs = 3};
        const auto run = [&](auto trainer) {
          torch::manual_seed(3);
          for (std::uint64_t i = 0; i < 6; ++i) {
            const auto batch = batch_for(kind, torch::kFloat64, 7, i);
            trainer.step(batch.x, batch.y);
            if (i % 2) trainer.end_epoch();
          }
        };
        if (local) {
          run(LocalTrainer(model, Oracle{}, options, {}, Raw{}));
        } else {
          run(BackpropTrainer(model, options));
        }
        ends.push_back(copies(model->parameters()));
      });
    }

    CHECK(distance(ends[0], ends[1]) < 1e-9);
  }
}

TEST_CASE("Oracle's credit is the change of each sample's loss, by finite differences", "[credit]") {
  for (const auto kind : every_kind) {
    if (kind == Kind::dropout) continue;  // each pass would be another function
    INFO("on " << name(kind));
    CHECK(from_finite_differences(kind, Oracle{}) < 1e-7);
  }
  CHECK(from_finite_differences(Kind::plain, MutatedOracle<WrongSign>{}) > 0.1);
  CHECK(from_finite_differences(Kind::plain, MutatedOracle<OfMeanLoss>{}) > 0.1);
  CHECK(from_finite_differences(Kind::plain, MutatedOracle<LeavesOutOneBlock>{}) > 0.1);
}

TEST_CASE("at the block's input Oracle moves each estimate up by one block", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer output(model, Oracle{});
  LocalTrainer input(model, Oracle{.at = CreditPoint::BlockInput});

  const auto at_output = output.raw_credits(batch.x, batch.y), at_input = input.raw_credits(batch.x, batch.y);

  REQUIRE(at_input.size() == 4);
  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(torch::equal(at_input[l + 1], at_output[l]));
    CHECK_FALSE(torch::equal(at_input[l + 1], at_output[l + 1]));
  }
  CHECK(torch::equal(at_input[0], at_output[0]));
}

TEST_CASE("an estimate at the input of a block that changes the size is refused", "[credit]") {
  auto model = stages(Kind::plain);
  const auto batch = batch_for(Kind::plain);
  LocalTrainer trainer(model, Oracle{.at = CreditPoint::BlockInput});

  CHECK(says(error_of([&] { trainer.step(batch.x, batch.y); }), {"(7, 5)", "(7, 8)", "block 1"}));
}

TEST_CASE("Oracle follows any objective", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto x = small_batch(torch::kFloat64).x;
  const auto target = torch::randn({7, small_classes}, torch::kFloat64);
  LocalTrainer trainer(model, Oracle{}, {}, {}, Raw{}, {}, SquaredError{});
  BackpropTrainer back(model, {}, SquaredError{});

  CHECK(distance(trainer.gradients(x, target), back.gradients(x, target)) < 1e-12);
}

TEST_CASE("frozen parts let Oracle's credit through", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer before(model, Oracle{});
  const auto credits = before.raw_credits(batch.x, batch.y);
  for (auto& parameter : model->parameters()) parameter.set_requires_grad(false);
  LocalTrainer frozen(model, Oracle{});

  CHECK(same(credits, frozen.raw_credits(batch.x, batch.y)));
  for (const auto& gradient : frozen.gradients(batch.x, batch.y)) CHECK_FALSE(gradient.defined());
}
