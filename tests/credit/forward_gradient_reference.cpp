// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/forward_gradient.hpp>
#include <creditlib/io/safetensors.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/optimizer/sgd.hpp>
#include <creditlib/rate/constant.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

// tests/reference/make_forward_gradient.py: the same directions from the same seed, slopes by PyTorch's forward mode.
TEST_CASE("24 steps of ForwardGradient end where a PyTorch program by forward mode ends", "[credit][parity]") {
  using namespace torch::nn;
  const auto name = GENERATE(as<std::string>(), "one", "four");
  const auto path = GENERATE(Path::ClosedForm, Path::Generic);
  INFO(name << (path == Path::Generic ? ", by autograd" : ", by formula"));
  const auto file = io::read_safetensors(std::string(CREDITLIB_TESTS_DIR) + "/reference/forward_gradient.safetensors");
  const std::map<std::string, torch::Tensor> reference(file.tensors.begin(), file.tensors.end());
  const auto settings = nlohmann::json::parse(file.metadata.at("settings"));
  const std::vector<std::int64_t> widths = settings["widths"];
  const auto layer = [](std::int64_t in, std::int64_t out) { return Sequential(Linear(in, out), Tanh()); };
  SequentialBlocks model({.embed = layer(settings["input"], widths[0]),
                          .blocks = {layer(widths[0], widths[1]), layer(widths[1], widths[2])},
                          .readout = Sequential(Linear(widths[2], settings["classes"].get<std::int64_t>())),
                          .example = torch::zeros({1, settings["input"].get<std::int64_t>()})});
  model->to(torch::kFloat64);
  const std::vector<std::pair<std::string, std::string>> parts{
      {"embed.0", "embed"}, {"blocks.0.0", "0"}, {"blocks.1.0", "1"}, {"readout.0", "out"}};
  std::map<std::string, torch::Tensor> parameters;  // by the reference's names
  for (const auto& entry : model->named_parameters()) {
    auto key = entry.key();
    for (const auto& [ours, theirs] : parts) {
      if (key.starts_with(ours)) key.replace(0, ours.size(), theirs);
    }
    const torch::NoGradGuard no_grad;
    torch::Tensor(entry.value()).copy_(reference.at("init." + key));
    parameters.emplace(key, entry.value());
  }
  REQUIRE(parameters.size() == 8);
  const auto& run = settings["cases"][name];
  LocalTrainer trainer(model, ForwardGradient{.directions = run["directions"]},
                       {.lr = run["lr"], .weight_decay = 0, .seed = settings["seed"], .path = path},
                       optimizer::SGD{.momentum = settings["momentum"]}, rate::Constant{});

  const std::int64_t steps = settings["steps"], batch = settings["batch"];
  std::vector<torch::Tensor> losses, credits;
  for (std::int64_t step = 0; step < steps; ++step) {
    const auto x = reference.at("x").narrow(0, step * batch, batch);
    const auto y = reference.at("y").narrow(0, step * batch, batch);
    if (step + 1 == steps) credits = trainer.raw_credits(x, y);
    losses.push_back(trainer.step(x, y).loss);
  }

  CHECK(distance(torch::stack(losses), reference.at(name + ".loss")) < 1e-8);
  for (std::size_t l = 0; l < widths.size(); ++l) {
    CHECK(distance(credits.at(l), reference.at(name + ".credit." + std::to_string(l))) < 1e-8);
  }
  for (const auto& [key, value] : parameters) {
    INFO(key);
    CHECK(distance(value, reference.at(name + ".final." + key)) < 1e-8);
    CHECK(distance(value, reference.at("init." + key)) > 0.01);
  }
}
