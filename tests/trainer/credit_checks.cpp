// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/model/vit_mini.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/schedule/blend.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// The rule of README.md.
struct ReadmeRule {
  struct State {
    std::vector<torch::Tensor> feedback;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const creditlib::Trace& trace) const {
      std::vector<torch::Tensor> credits;
      for (std::int64_t l = 0; const auto& B : feedback)
        credits.push_back(creditlib::spread(-B.index_select(1, trace.target).t(), model, l++));
      return credits;
    }
    creditlib::NamedTensors named_tensors() const { return creditlib::numbered("feedback", feedback); }
  };

  template <class Model>
  State bind(Model& model, const creditlib::BindContext& context) const {
    State state;
    for (std::int64_t l = 0; l <= model->blocks(); ++l)
      state.feedback.push_back(context.randn({creditlib::features(model, l), model->classes()}));
    return state;
  }
};

/// DFA whose a_0 is whatever `a_0` is, dense and as factors.
struct SpoiltDFA {
  torch::Tensor a_0 = {};

  struct State {
    DFA::State dfa;
    torch::Tensor a_0;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      auto credits = dfa.credit(model, trace);
      credits[0] = a_0;
      return credits;
    }
    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model& model, const Trace& trace) const {
      auto credits = dfa.factored_credit(model, trace);
      credits[0] = {a_0, a_0, {}};
      return credits;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context), a_0};
  }
};

Batch images() {
  torch::manual_seed(12);
  return {torch::randn({3, 3, 8, 8}), torch::randint(small_classes, {3})};
}
SmallCNN small_cnn() {
  torch::manual_seed(1);
  return SmallCNN({.classes = small_classes, .image = 8});
}

/// Undefined, of another shape, of another dtype, and not finite.
std::vector<torch::Tensor> garbage() {
  return {torch::Tensor(), torch::ones({2}), torch::ones({3, 3, 8, 8}, torch::kInt64), torch::full({7, 6}, NAN)};
}

template <class Model>
void check_a_0_is_not_read(const Model& make, const Batch& batch) {
  const auto trained = [&](const auto& rule, const auto& schedule) {
    auto model = make();
    LocalTrainer trainer(model, rule, {}, schedule);
    for (int i = 0; i < 2; ++i) trainer.step(batch.x, batch.y);
    CHECK_FALSE(trainer.credits(batch.x, batch.y)[0].defined());
    return copies(model->parameters());
  };
  const auto alone = trained(DFA{}, Always{});
  const auto mixed = trained(Mix{DFA{}, DFA{}}, Blend{.alpha = 0.5});
  for (const auto& a_0 : garbage()) {
    INFO("a_0 is " << creditlib::detail::tensor_text(a_0));
    CHECK(same(trained(SpoiltDFA{a_0}, Always{}), alone));
    CHECK(same(trained(Mix{DFA{}, SpoiltDFA{a_0}}, Blend{.alpha = 0.5}), mixed));
  }
}

}  // namespace

TEST_CASE("the credit at h_0 of a model without an embed is not read, whatever it is", "[trainer]") {
  check_a_0_is_not_read(small_cnn, images());
  check_a_0_is_not_read([] { return stages(Kind::no_embed); }, batch_for(Kind::no_embed));  // by formula, as factors
}

TEST_CASE("the credit at h_0 of a model with an embed is checked", "[trainer]") {
  const auto message = [](const torch::Tensor& a_0, Path path) {
    return error_of([&] {
      const auto batch = small_batch();
      LocalTrainer(small_model(), SpoiltDFA{a_0}, {.path = path}).step(batch.x, batch.y);
    });
  };
  for (const auto path : {Path::Generic, Path::ClosedForm}) {
    CHECK(says(message({}, path), {"gave no credit for h_0"}));
    CHECK(says(message(torch::ones({2}), path), {"gave credit 0 as (2)"}));
  }
}

TEST_CASE("README's rule trains hidden states of every form", "[trainer]") {
  const auto check = [](auto model, const Batch& batch) {
    LocalTrainer trainer(model, ReadmeRule{});
    const auto before = copies(model->parameters());
    const auto credits = trainer.credits(batch.x, batch.y);
    REQUIRE(credits.size() == static_cast<std::size_t>(model->blocks()) + 1);
    for (std::size_t l = 1; l < credits.size(); ++l) {
      const auto shape = model->hidden_shape(static_cast<std::int64_t>(l));
      CHECK(credits[l].sizes() == spread(torch::ones({batch.x.size(0), features(shape)}), shape).sizes());
    }
    trainer.step(batch.x, batch.y);
    const auto after = model->parameters();
    for (std::size_t i = 0; i < after.size(); ++i) CHECK_FALSE(torch::equal(after[i], before[i]));
  };
  check(small_model(), small_batch());
  check(small_cnn(), images());
  check(stages(Kind::conv), batch_for(Kind::conv));
  check(stages(Kind::tokens), batch_for(Kind::tokens));
  torch::manual_seed(1);
  check(ViTMini({.width = 8, .heads = 2, .blocks = 2, .classes = small_classes, .image = 8}), images());
}
