// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/kolen_pollack.hpp>
#include <creditlib/credit/layer_fa.hpp>
#include <creditlib/credit/low_rank_feedback.hpp>
#include <creditlib/credit/sign_symmetry.hpp>
#include <creditlib/credit/weight_mirror.hpp>
#include <creditlib/io/safetensors.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/sequential_blocks.hpp>
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

namespace {

/// What tests/reference/make_layer_feedback.py wrote: layers whose backward pass multiplies by a tensor of its own.
struct LayerReference {
  std::map<std::string, torch::Tensor> tensors;
  nlohmann::json settings;

  const torch::Tensor& at(const std::string& name) const { return tensors.at(name); }
};
const LayerReference& layer_reference() {
  static const auto read = [] {
    const auto file = io::read_safetensors(std::string(CREDITLIB_TESTS_DIR) + "/reference/layer_feedback.safetensors");
    return LayerReference{{file.tensors.begin(), file.tensors.end()},
                          nlohmann::json::parse(file.metadata.at("settings"))};
  }();
  return read;
}

/// The reference's network, on its first weights.
SequentialBlocks reference_network() {
  using namespace torch::nn;
  SequentialBlocks model({.embed = Sequential(Conv2d(2, 4, 3), Tanh()),
                          .blocks = {Sequential(Conv2d(4, 5, 3), Tanh()), Sequential(Flatten(), Linear(45, 7), Tanh())},
                          .readout = Sequential(Linear(7, 3)),
                          .residual = false,
                          .example = torch::zeros({1, 2, 7, 7})});
  model->to(torch::kFloat64);
  const torch::NoGradGuard no_grad;
  for (auto& entry : model->named_parameters()) {
    if (entry.value().dim() > 1) {
      entry.value().copy_(layer_reference().at("init." + entry.key()));
    } else {
      entry.value().zero_();
    }
  }
  return model;
}

/// The reference's feedback, one for each of the model's parameters().
std::vector<torch::Tensor> reference_feedback(SequentialBlocks& model) {
  std::vector<torch::Tensor> feedback;
  for (const auto& entry : model->named_parameters()) {
    const auto layer = entry.key().substr(0, entry.key().rfind('.'));
    feedback.push_back(entry.value().dim() > 1 ? layer_reference().at("feedback." + layer) : torch::Tensor());
  }
  return feedback;
}

void copy_into(const std::vector<torch::Tensor>& to, const std::vector<torch::Tensor>& from) {
  for (std::size_t i = 0; i < to.size(); ++i)
    if (to[i].defined()) torch::Tensor(to[i]).copy_(from[i]);
}

/// The largest distance of a weight, of learned feedback, or of a step's loss, after 24 steps. `prepare(state, feedback)` gives the rule the
/// reference's numbers.
template <class Rule, class Prepare>
double from_reference(const std::string& name, const Rule& rule, double weight_decay, const Prepare& prepare) {
  auto model = reference_network();
  LocalTrainer trainer(model, rule, {.lr = 0.1, .weight_decay = weight_decay}, Raw{}, optimizer::SGD{.momentum = 0},
                       rate::Constant{});
  prepare(trainer.state(), reference_feedback(model));
  const auto &x = layer_reference().at("x"), &y = layer_reference().at("y");
  const auto losses = layer_reference().at(name + ".loss");
  double most = 0;
  for (std::int64_t step = 0; step < losses.size(0); ++step) {
    const auto result = trainer.step(x.narrow(0, 6 * step, 6), y.narrow(0, 6 * step, 6));
    most = std::max(most, distance(result.loss, losses[step]));
  }
  const auto feedback = trainer.state().transport(model);
  std::size_t i = 0;
  for (const auto& entry : model->named_parameters()) {
    most = std::max(most, distance(entry.value(), layer_reference().at(name + ".final." + entry.key())));
    const auto layer = entry.key().substr(0, entry.key().rfind('.'));
    const auto learned = layer_reference().tensors.find(name + ".feedback." + layer);
    if (feedback[i].defined() && learned != layer_reference().tensors.end()) {
      most = std::max(most, distance(feedback[i], learned->second));
    }
    ++i;
  }
  return most;
}

const auto leave = [](auto&, const std::vector<torch::Tensor>&) {};

}  // namespace

TEST_CASE("24 steps of layer feedback end where layers with a backward tensor of their own end", "[parity]") {
  auto model = reference_network();
  const LayerFA layer_fa{.feedback = reference_feedback(model)};
  CHECK(from_reference("fa", layer_fa, 0, leave) < 1e-12);
  CHECK(from_reference("usf", SignSymmetry{}, 0, leave) < 1e-12);
  CHECK(from_reference("frsf", SignSymmetry{Magnitude::Fixed}, 0, [](auto& state, auto feedback) {
          for (auto& tensor : feedback) tensor = tensor.defined() ? tensor.abs() : tensor;
          copy_into(state.magnitudes, feedback);
        }) < 1e-12);
  CHECK(from_reference("kp", KolenPollack{.decay = 0.1 * 0.02}, 0.02,
                       [](auto& state, const auto& feedback) { copy_into(state.feedback, feedback); }) < 1e-12);
  // The cases differ, so that none passes for another.
  CHECK(from_reference("usf", layer_fa, 0, leave) > 1e-3);
  CHECK(from_reference("kp", layer_fa, 0.02, leave) > 1e-3);
}

TEST_CASE("24 steps of feedback that learns end where layers with a backward tensor of their own end", "[parity]") {
  const auto& settings = layer_reference().settings;
  REQUIRE(settings["seed"] == TrainerOptions{}.seed);
  WeightMirror mirror{.rate = settings["rate"], .noise = settings["noise"], .samples = settings["samples"]};
  LowRankFeedback low_rank{.rank = settings["rank"], .lr = settings["factor_lr"]};

  CHECK(from_reference("wm", mirror, 0, leave) < 1e-8);
  CHECK(from_reference("ldfa", low_rank, 0, leave) < 1e-8);
  CHECK(from_reference("ldfa_weights", low_rank, 0, leave) > 1e-3);
  low_rank.reads_weights = true;
  CHECK(from_reference("ldfa_weights", low_rank, 0, leave) < 1e-8);
  // Another rate, or learning that does not happen, ends elsewhere.
  mirror.rate *= 1.01;
  CHECK(from_reference("wm", mirror, 0, leave) > 1e-5);
  low_rank.lr = 0;
  CHECK(from_reference("ldfa_weights", low_rank, 0, leave) > 1e-3);
}
