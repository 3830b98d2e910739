// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/credit/drtp.hpp>
#include <creditlib/io/safetensors.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/optimizer/sgd.hpp>
#include <creditlib/rate/constant.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

// The same 24 steps as a PyTorch program that trains the way of the authors' own; see tests/reference/README.md.
namespace {

struct AuthorsWay {
  std::map<std::string, torch::Tensor> tensors;
  nlohmann::json settings;

  const torch::Tensor& at(const std::string& name) const { return tensors.at(name); }
  std::int64_t batch() const { return settings["batch"]; }
};

const AuthorsWay& authors_way() {
  static const AuthorsWay read = [] {
    const auto file = io::read_safetensors(std::string(CREDITLIB_TESTS_DIR) + "/reference/direct_feedback.safetensors");
    return AuthorsWay{{file.tensors.begin(), file.tensors.end()}, nlohmann::json::parse(file.metadata.at("settings"))};
  }();
  return read;
}

const std::vector<std::string> parameter_names{"0.weight", "0.bias", "1.weight", "1.bias", "out.weight", "out.bias"};

/// Two hidden layers with tanh, no embed, and a linear readout, at the reference's start.
SequentialBlocks two_hidden_layers() {
  using namespace torch::nn;
  SequentialBlocks model({.blocks = {Sequential(Linear(6, 7), Tanh()), Sequential(Linear(7, 5), Tanh())},
                          .readout = Sequential(Linear(5, 4)),
                          .example = torch::zeros({1, 6})});
  model->to(torch::kFloat64);
  const torch::NoGradGuard no_grad;
  for (std::size_t i = 0; i < parameter_names.size(); ++i)
    model->parameters().at(i).copy_(authors_way().at("init." + parameter_names[i]));
  return model;
}

/// Their feedback, (C, d), as the library's for h_0..h_2. They do not divide projected errors by the batch size.
std::vector<torch::Tensor> their_feedback(double factor) {
  const auto scale = factor * static_cast<double>(authors_way().batch());
  return {{}, authors_way().at("feedback.0").t() * scale, authors_way().at("feedback.1").t() * scale};
}

/// Runs the steps and holds the last one's credit, and the weights after it, to the reference's.
template <class Trainer>
void ends_as(const std::string& rule, Trainer trainer) {
  const auto& theirs = authors_way();
  for (std::int64_t step = 0; step < theirs.settings["steps"]; ++step) {
    const auto x = theirs.at("x").narrow(0, step * theirs.batch(), theirs.batch());
    const auto y = theirs.at("y").narrow(0, step * theirs.batch(), theirs.batch());
    if (step + 1 == theirs.settings["steps"]) {
      const auto credits = trainer.raw_credits(x, y);
      for (std::size_t l = 0; l < 2; ++l) {
        const auto credit = credits.at(l + 1) / static_cast<double>(theirs.batch());
        CHECK(distance(credit, theirs.at(rule + ".credit." + std::to_string(l))) < 1e-8);
      }
    }
    trainer.step(x, y);
  }
  const auto parameters = trainer.model()->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    INFO(parameter_names[i]);
    CHECK(distance(parameters[i], theirs.at(rule + ".final." + parameter_names[i])) < 1e-8);
    CHECK(distance(parameters[i], theirs.at("init." + parameter_names[i])) > 0.01);
  }
}

}  // namespace

TEST_CASE("24 steps of DFA, its signs and DRTP end where their authors' way in PyTorch ends", "[credit][parity]") {
  const auto rule = GENERATE(as<std::string>(), "dfa", "sdfa", "drtp");
  INFO(rule);
  const auto& settings = authors_way().settings["rules"][rule];
  const TrainerOptions options{.lr = settings["lr"], .weight_decay = 0};
  const optimizer::SGD sgd{.momentum = settings["momentum"]};
  const auto model = two_hidden_layers();
  if (rule == "drtp") {  // they add the target's projection where the library takes it away
    ends_as(rule, LocalTrainer(model, DRTP{.feedback = their_feedback(-1)}, options, Raw{}, sgd, rate::Constant{}));
  } else {
    const DFA dfa{.feedback = their_feedback(1), .signal = rule == "sdfa" ? Signal::Sign : Signal::Error};
    ends_as(rule, LocalTrainer(model, dfa, options, Raw{}, sgd, rate::Constant{}));
  }
}

TEST_CASE("24 steps of DirectKolenPollack end where its way in PyTorch ends", "[credit][parity]") {
  const auto& settings = authors_way().settings["rules"]["dkp"];
  const DirectKolenPollack rule{.lr = settings["feedback_lr"], .decay = 0};
  LocalTrainer trainer(two_hidden_layers(), rule, {.lr = settings["lr"], .weight_decay = 0}, rate::Constant{});
  const auto feedback = trainer.state().feedback;

  ends_as("dkp", std::move(trainer));

  for (std::size_t l = 0; l < 2; ++l)
    CHECK(distance(feedback[l + 1].t(), authors_way().at("dkp.feedback." + std::to_string(l))) < 1e-8);
}
