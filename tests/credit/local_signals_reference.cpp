// SPDX-License-Identifier: Apache-2.0
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>

#include <creditlib/credit/channel_goodness.hpp>
#include <creditlib/credit/decoupled_greedy.hpp>
#include <creditlib/credit/local_error_signals.hpp>
#include <creditlib/credit/mono_forward.hpp>
#include <creditlib/io/safetensors.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "../test.hpp"

using namespace creditlib;

// The same 24 steps as a PyTorch program in which each layer has an optimizer of its own that steps in the forward pass;
// see tests/reference/README.md.
namespace {

struct LocalSignals {
  std::map<std::string, torch::Tensor> tensors;
  nlohmann::json settings;

  const torch::Tensor& at(const std::string& name) const { return tensors.at(name); }
};

const LocalSignals& local_signals() {
  static const LocalSignals read = [] {
    const auto file = io::read_safetensors(std::string(CREDITLIB_TESTS_DIR) + "/reference/local_signals.safetensors");
    return LocalSignals{{file.tensors.begin(), file.tensors.end()},
                        nlohmann::json::parse(file.metadata.at("settings"))};
  }();
  return read;
}

SequentialBlocks network_of(const std::string& network) {
  using namespace torch::nn;
  const auto leaky = [] { return LeakyReLU(LeakyReLUOptions().negative_slope(0.01)); };
  SequentialBlocksOptions options;
  if (network == "mlp") {
    options = {.blocks = {Sequential(Linear(12, 8), BatchNorm1d(8), leaky()),
                          Sequential(Linear(8, 7), BatchNorm1d(7), leaky()),
                          Sequential(Linear(7, 6), BatchNorm1d(6), leaky())},
               .readout = Sequential(Linear(6, 4)),
               .example = torch::zeros({1, 12})};
  } else if (network == "relu") {
    options = {.blocks = {Sequential(Linear(12, 8), ReLU()), Sequential(Linear(8, 7), ReLU()),
                          Sequential(Linear(7, 6), ReLU())},
               .readout = Sequential(Linear(6, 4)),
               .example = torch::zeros({1, 12})};
  } else if (network == "groups") {
    const auto norm = [](std::int64_t channels) { return BatchNorm2d(BatchNormOptions(channels).eps(1e-4)); };
    options = {
        .blocks = {Sequential(Conv2d(Conv2dOptions(1, 8, 3).padding(1)), ReLU(), norm(8)),
                   Sequential(Conv2d(Conv2dOptions(8, 12, 3).padding(1).groups(4)), ReLU(), MaxPool2d(2), norm(12))},
        .readout = Sequential(Flatten(), Linear(12 * 4 * 4, 4)),
        .example = torch::zeros({1, 1, 8, 8})};
  } else {
    options = {.blocks = {Sequential(Conv2d(Conv2dOptions(1, 5, 3).padding(1)), BatchNorm2d(5), ReLU()),
                          Sequential(Conv2d(Conv2dOptions(5, 6, 3).padding(1).stride(2)), BatchNorm2d(6), ReLU())},
               .readout = Sequential(Flatten(), Linear(6 * 4 * 4, 4)),
               .example = torch::zeros({1, 1, 8, 8})};
  }
  SequentialBlocks model(options);
  model->to(torch::kFloat64);
  return model;
}

/// The parameters of network and heads by the names of the fixture.
template <class Trainer>
std::map<std::string, torch::Tensor> parameters_of(Trainer& trainer) {
  std::map<std::string, torch::Tensor> named;
  const auto add = [&](const std::string& part, const std::vector<torch::Tensor>& parameters) {
    for (std::size_t k = 0; k < parameters.size(); ++k) named[part + std::to_string(k)] = parameters[k];
  };
  auto model = trainer.model();
  for (std::int64_t l = 0; l < model->blocks(); ++l)
    add("block." + std::to_string(l) + ".", model->block_parameters(l));
  add("readout.", model->readout_parameters());
  if constexpr (requires { trainer.state().nets; }) {
    const auto& heads = trainer.state().nets;
    for (std::size_t l = 0; l < heads.size(); ++l) {
      for (const auto& entry : heads[l]->named_parameters())
        named["head." + std::to_string(l) + "." + entry.key()] = entry.value();
    }
  }
  return named;
}

/// How far parameters and the readout's losses are, at most, from the fixture's after its steps.
template <class Rule>
double distance_after_the_steps(const std::string& name, const Rule& rule) {
  const auto& settings = local_signals().settings;
  const std::string network = settings["cases"][name]["network"];
  LocalTrainer trainer(network_of(network), rule, {.lr = settings["lr"], .weight_decay = 0, .rate = Rate::Constant});
  const auto named = parameters_of(trainer);
  {
    const torch::NoGradGuard no_grad;
    for (const auto& [key, parameter] : named)
      torch::Tensor(parameter).copy_(local_signals().at(name + ".init." + key));
  }
  const bool vectors = network == "mlp" || network == "relu";
  const auto x = local_signals().at(vectors ? "x.mlp" : "x.cnn"), y = local_signals().at("y");
  const std::int64_t batch = settings["batch"];
  std::vector<torch::Tensor> losses;
  for (int epoch = 0; epoch < settings["epochs"]; ++epoch) {
    for (std::int64_t first = 0; first < y.size(0); first += batch) {
      losses.push_back(trainer.step(x.narrow(0, first, batch), y.narrow(0, first, batch)).loss);
    }
  }
  REQUIRE(losses.size() == 24);

  double apart = (torch::stack(losses) - local_signals().at(name + ".loss")).abs().max().template item<double>();
  std::size_t compared = 0;
  for (const auto& [key, expected] : local_signals().tensors) {
    const std::string part = name + ".final.";
    if (key.rfind(part, 0) != 0) continue;
    INFO(key);
    const auto& parameter = named.at(key.substr(part.size()));
    apart = std::max(apart, (parameter - expected).abs().max().template item<double>());
    ++compared;
  }
  CHECK(compared == named.size());
  return apart;
}

}  // namespace

TEST_CASE("24 steps with local heads end where the reference in PyTorch ends", "[parity][local_heads]") {
  const double lr = local_signals().settings["lr"];
  const std::int64_t pooled = local_signals().settings["pooled"];
  REQUIRE(local_signals().settings["cases"].size() == 7);

  for (const std::string name : {"mlp_pred", "mlp_sim", "mlp_predsim", "cnn_predsim"}) {
    INFO(name);
    const double beta = local_signals().settings["cases"][name]["beta"];
    CHECK(distance_after_the_steps(name, LocalErrorSignals{.beta = beta, .lr = lr, .pooled = pooled}) < 1e-8);
  }
  CHECK(distance_after_the_steps("cnn_greedy", DecoupledGreedy{.lr = lr}) < 1e-8);
  CHECK(distance_after_the_steps("relu_mono", MonoForward{.lr = lr}) < 1e-8);
  CHECK(distance_after_the_steps("groups_channels", ChannelGoodness{}) < 1e-8);
  // A rule that is another by a little ends elsewhere.
  CHECK(distance_after_the_steps("relu_mono", MonoForward{.lr = 1.02 * lr}) > 1e-5);
  CHECK(distance_after_the_steps("mlp_predsim", LocalErrorSignals{.beta = 0.98, .lr = lr, .pooled = pooled}) > 1e-5);
}
