// SPDX-License-Identifier: Apache-2.0
// A credit rule written outside the library, trained beside DFA and back-propagation on the embedded digits.

#include <fmt/format.h>

#include <cmath>
#include <creditlib/creditlib.hpp>

#include "support/program.hpp"

// Direct random target projection (Frenkel, Lefebvre, Bol 2021): credit from the label alone, a_l = -B_l onehot(y).
// (The library's own, creditlib::DRTP, takes targets of all kinds.)
struct TargetProjection {
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
    for (std::int64_t l = 0; l <= model->blocks(); ++l) {
      state.feedback.push_back(context.randn({creditlib::features(model, l), model->classes()}));
    }
    return state;
  }
};

template <class MakeTrainer>
void train_and_print(const char* name, std::int64_t epochs, const MakeTrainer& make_trainer) {
  const auto digits = creditlib::data::load("digits", CREDITLIB_DATA_DIR "/digits");
  // support::group(): the processes that torchrun or --distributed has started, as distributed::from_environment() gives
  // them; each trains on rows of its own of every batch.
  creditlib::data::Batches train(digits.train, {.batch_size = 32, .group = support::group()}),
      test(digits.test, {.batch_size = 360, .shuffle = false});
  torch::manual_seed(42);
  auto model = creditlib::ResidualMLP({.input = 64, .width = 128, .classes = 10, .blocks = 3});
  auto trainer = make_trainer(model, creditlib::TrainerOptions{.epochs = epochs, .group = support::group()});
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    for (const auto& [x, y] : train) {
      trainer.step(x, y);
      if (support::interrupted()) throw support::Interrupted("nothing is kept, and the same command starts again");
    }
    trainer.end_epoch();
  }

  const creditlib::diagnostics::EvalMode eval(*model);
  const auto [x, y] = *test.begin();
  const auto gamma =
      creditlib::diagnostics::alignment(trainer.raw_credits(x, y), creditlib::diagnostics::true_gradients(model, x, y));
  const auto right = model->forward(x).argmax(1).eq(y).sum().template item<std::int64_t>();
  fmt::print("{:<18} test accuracy {:.3f}, alignment", name, static_cast<double>(right) / 360);
  for (const auto& block : gamma) fmt::print(" {:6.3f}", block.value.value_or(std::nan("")));
  fmt::print("\n");
}

int main(int argc, char** argv) {
  CLI::App app("Trains a credit rule of one's own beside DFA and back-propagation on the digits.", "custom_rule");
  std::int64_t epochs = 20;
  app.add_option("--epochs", epochs, "epochs of each rule")->check(support::whole(1))->capture_default_str();
  const auto run = [&] {
    // Neither rule's credit shrinks as the loss does, so the blocks' growth is bounded by a penalty on their outputs.
    const creditlib::PenalizedInnerProduct loss{.lambda = 0.1};
    train_and_print("target projection", epochs, [&](auto model, auto options) {
      return creditlib::LocalTrainer(model, TargetProjection{}, options, {}, {}, loss);
    });
    train_and_print("DFA", epochs, [&](auto model, auto options) {
      return creditlib::LocalTrainer(model, creditlib::DFA{}, options, {}, {}, loss);
    });
    train_and_print("back-propagation", epochs,
                    [](auto model, auto options) { return creditlib::BackpropTrainer(model, options); });
  };
  return support::run_program(app, argc, argv, run, support::Processes::Several);
}
