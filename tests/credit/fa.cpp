// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>

#include "../models.hpp"
#include "../random_alignment.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

std::vector<torch::Tensor> matrices(const std::vector<std::vector<std::int64_t>>& sizes,
                                    torch::Dtype dtype = torch::kFloat64) {
  torch::manual_seed(78);
  std::vector<torch::Tensor> made;
  for (const auto& size : sizes) made.push_back(torch::randn(size).to(dtype));
  return made;
}

/// dloss_i/dh_L by autograd on the readout alone.
template <class Model>
torch::Tensor gradient_at_last(Model& model, const Batch& batch) {
  auto h = model->embed(batch.x);
  for (std::int64_t l = 0; l < model->blocks(); ++l) h = model->join(l, h, model->block(l, h));
  h = h.detach().requires_grad_();
  const auto loss = -model->readout(h).log_softmax(1).gather(1, batch.y.unsqueeze(1)).sum();
  return torch::autograd::grad({loss}, {h})[0];
}

/// What is wrong with a rule's credits as a_l = a_{l+1} B_l, from the gradient at h_L, with its own feedback; or "".
template <class Rule>
std::string is_feedback_alignment(const Rule& rule) {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, rule, {}, {}, Raw{});
  const auto credits = trainer.raw_credits(batch.x, batch.y);

  auto expected = gradient_at_last(model, batch);
  for (std::size_t l = 3;; --l) {
    if (distance(credits[l], expected) > 1e-12) return "credit " + std::to_string(l);
    if (l == 0) return "";
    expected = times_transposed(expected, trainer.state().feedback[l - 1].t());
  }
}

template <class Fault>
struct MutatedFA {
  struct State {
    std::vector<torch::Tensor> feedback;
    std::vector<torch::Tensor> credit(auto&, const Trace& trace) const {
      std::vector<torch::Tensor> credits{Fault::start(trace)};
      for (std::size_t l = feedback.size(); l-- > 0;)
        credits.insert(credits.begin(), Fault::down(credits[0], feedback[l]));
      return credits;
    }
  };
  State bind(auto& model, const BindContext& context) const { return {FA{}.bind(model, context).feedback}; }
};
struct RightWay {
  static torch::Tensor start(const Trace& trace) { return trace.loss_gradient(); }
  static torch::Tensor down(const torch::Tensor& a, const torch::Tensor& matrix) { return a.mm(matrix); }
};
struct Transposed : RightWay {
  static torch::Tensor down(const torch::Tensor& a, const torch::Tensor& matrix) { return a.mm(matrix.t()); }
};
struct WrongSign : RightWay {
  static torch::Tensor down(const torch::Tensor& a, const torch::Tensor& matrix) { return -a.mm(matrix); }
};
struct OfMeanLoss : RightWay {
  static torch::Tensor start(const Trace& trace) { return trace.loss_gradient() / trace.target.size(0); }
};

}  // namespace

TEST_CASE("FA starts from the true gradient at h_L and goes down through its matrices", "[credit]") {
  CHECK(is_feedback_alignment(FA{}) == "");
  CHECK(is_feedback_alignment(FA{.feedback = matrices({{5, 5}, {5, 5}, {5, 5}})}) == "");
  CHECK(is_feedback_alignment(MutatedFA<RightWay>{}) == "");

  CHECK(is_feedback_alignment(MutatedFA<Transposed>{}) == "credit 2");
  CHECK(is_feedback_alignment(MutatedFA<WrongSign>{}) == "credit 2");
  CHECK(is_feedback_alignment(MutatedFA<OfMeanLoss>{}) == "credit 3");
}

TEST_CASE("FA goes between hidden states of different sizes", "[credit]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto batch = batch_for(Kind::plain, torch::kFloat64);
  const auto feedback = matrices({{5, 5}, {8, 5}, {3, 8}});
  LocalTrainer trainer(model, FA{.feedback = feedback});

  const auto credits = trainer.raw_credits(batch.x, batch.y);

  auto expected = gradient_at_last(model, batch);
  CHECK(distance(credits[3], expected) < 1e-12);
  for (std::size_t l = 3; l-- > 0;) {
    expected = times_transposed(expected, feedback[l].t());
    CHECK(distance(credits[l], expected) < 1e-12);
  }
}

TEST_CASE("FA's matrices go between channels, from credit summed over positions", "[credit]") {
  SECTION("(B, C, H, W)") {
    auto model = stages(Kind::conv, torch::kFloat64);
    model->eval();
    const auto batch = batch_for(Kind::conv, torch::kFloat64);
    const auto feedback = matrices({{5, 3}, {4, 5}});
    LocalTrainer trainer(model, FA{.feedback = feedback});

    const auto credits = trainer.raw_credits(batch.x, batch.y);

    const auto last = gradient_at_last(model, batch);
    CHECK(distance(credits[2], last) < 1e-12);
    const auto middle = torch::einsum("bchw,ci->bi", {last, feedback[1]});
    CHECK(distance(credits[1], middle.unsqueeze(2).unsqueeze(3)) < 1e-12);
    CHECK(distance(credits[0], torch::einsum("bc,ci->bi", {middle, feedback[0]}).unsqueeze(2).unsqueeze(3)) < 1e-12);
  }
  SECTION("(B, N, d)") {
    auto model = stages(Kind::tokens, torch::kFloat64);
    const auto batch = batch_for(Kind::tokens, torch::kFloat64);
    const auto feedback = matrices({{5, 5}, {5, 5}});
    LocalTrainer trainer(model, FA{.feedback = feedback});

    const auto credits = trainer.raw_credits(batch.x, batch.y);

    const auto last = gradient_at_last(model, batch);
    CHECK(distance(credits[2], last) < 1e-12);
    CHECK(distance(credits[1], torch::einsum("bnd,di->bi", {last, feedback[1]}).unsqueeze(1)) < 1e-12);
  }
}

TEST_CASE("FA draws N(0, 1) over the square root of the size above, from B_0 up", "[credit]") {
  auto model = SequentialBlocks(
      {.embed = torch::nn::Sequential(torch::nn::Linear(6, 100)),
       .blocks = {torch::nn::Sequential(torch::nn::Linear(100, 40)), torch::nn::Sequential(torch::nn::Linear(40, 90))},
       .readout = torch::nn::Sequential(torch::nn::Linear(90, 4)),
       .example = torch::zeros({1, 6})});
  LocalTrainer trainer(model, FA{}, {.seed = 5});
  const auto& feedback = trainer.state().feedback;

  REQUIRE(feedback.size() == 2);
  CHECK(feedback[0].sizes() == torch::IntArrayRef({40, 100}));
  CHECK(feedback[1].sizes() == torch::IntArrayRef({90, 40}));
  auto generator = torch::make_generator<at::CPUGeneratorImpl>(5);
  for (const auto& matrix : feedback) {
    const double variance = 1.0 / static_cast<double>(matrix.size(0)), draws_made = static_cast<double>(matrix.numel());
    CHECK(std::abs(matrix.mean().item<double>()) < 5 * std::sqrt(variance / draws_made));
    CHECK(std::abs(matrix.square().mean().item<double>() / variance - 1) < 5 * std::sqrt(2 / draws_made));
    CHECK(distance(matrix, at::randn(matrix.sizes(), generator, torch::TensorOptions(torch::kFloat32)) *
                               std::sqrt(variance)) < 1e-6);
  }
}

TEST_CASE("FA has no matrix for an embed that is not there", "[credit]") {
  auto model = stages(Kind::no_embed);
  const auto batch = batch_for(Kind::no_embed);
  LocalTrainer trainer(model, FA{});

  const auto credits = trainer.credits(batch.x, batch.y);

  CHECK_FALSE(trainer.state().feedback[0].defined());
  CHECK_FALSE(credits[0].defined());
  CHECK(credits[1].sizes() == torch::IntArrayRef({7, 5}));
}

TEST_CASE("FA's explicit feedback is copied, and a later change of it has no effect", "[credit]") {
  const auto batch = small_batch();
  auto model = small_model();
  const auto given = matrices({{5, 5}, {5, 5}, {5, 5}}, torch::kFloat32);
  LocalTrainer trainer(model, FA{.feedback = given}, {.seed = 1});
  LocalTrainer other(model, FA{.feedback = given}, {.seed = 2});
  const auto credits = trainer.credits(batch.x, batch.y);

  given[1].zero_();

  CHECK(same(credits, trainer.credits(batch.x, batch.y)));
  CHECK(same(credits, other.credits(batch.x, batch.y)));
}

TEST_CASE("FA refuses feedback that does not fit", "[credit]") {
  auto model = stages(Kind::plain);
  const auto message = [&](std::vector<torch::Tensor> feedback) {
    return error_of([&] { LocalTrainer(model, FA{.feedback = feedback}); });
  };
  const auto right = matrices({{5, 5}, {8, 5}, {3, 8}});

  CHECK(message(right) == "(nothing was thrown)");
  CHECK(says(message({right[0], torch::zeros({5, 8}), right[2]}),
             {"FA: feedback 1 is (5, 8), expected (8, 5)", "8 features of h_2", "5 of h_1"}));
  CHECK(says(message({torch::Tensor(), right[1], right[2]}), {"FA: feedback 0 is undefined, expected (5, 5)"}));
  CHECK(says(message({right[0], right[1]}), {"FA: 2 feedback matrices were given, expected 3", "one per block"}));
}

TEST_CASE("FA's credit has nothing to do with any parameter, given that of the last block", "[credit]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::tokens, Kind::no_embed}) {
    INFO("on " << name(kind));
    auto model = stages(kind);
    const auto batch = batch_for(kind);
    LocalTrainer trainer(model, Captured<FA>{});
    const auto credits = copies(trainer.raw_credits(batch.x, batch.y));
    auto& state = trainer.state();

    randomise(*model);
    const torch::NoGradGuard no_grad;
    const auto again = state.inner.credit(model, state.traces->at(0));  // its loss_gradient() was computed before

    CHECK(torch::equal(again.back(), credits.back()));
    for (std::size_t l = kind == Kind::no_embed ? 1 : 0; l < credits.size(); ++l)
      CHECK(torch::equal(again[l], credits[l]));
  }
}

TEST_CASE("other blocks below h_L leave FA's credit alone as far as they leave h_L", "[credit]") {
  // The same h_L by two networks: the blocks' branches are 0 in both, by w2, but all that leads to them differs.
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  const auto silence = [&] {
    const torch::NoGradGuard no_grad;
    for (auto& entry : model->named_parameters()) {
      if (entry.key().find("w2") != std::string::npos) entry.value().zero_();
      if (entry.key().find("w1") != std::string::npos) entry.value().normal_();
    }
  };
  silence();
  LocalTrainer trainer(model, FA{});
  const auto credits = trainer.credits(batch.x, batch.y);

  silence();

  CHECK(same(credits, trainer.credits(batch.x, batch.y)));
}

namespace {

void is_as_far_as_random_matrices_below_the_last_block(int seeds) {
  const auto gamma = alignment_over_seeds<FA>(seeds);
  for (std::size_t l = 0; l + 1 < gamma.size(); ++l) {
    INFO("h_" << l);
    CHECK(as_of_random_matrices(gamma[l], l) == "");
  }
  for (const double at_last : gamma.back()) CHECK(at_last == Approx(1));
  CHECK(as_of_random_matrices(gamma.back(), gamma.size() - 1) != "");
}

}  // namespace

TEST_CASE("at the start FA's credit below the last block is as far from the true gradient as random matrices are",
          "[credit]") {
  is_as_far_as_random_matrices_below_the_last_block(few_seeds);
}

TEST_CASE("at the start FA's credit below the last block is as far as random matrices are, over many seeds",
          "[credit][statistical]") {
  is_as_far_as_random_matrices_below_the_last_block(many_seeds);
}
