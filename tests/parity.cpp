// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/io/safetensors.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "test.hpp"

using namespace creditlib;

// The same 20 steps as a PyTorch program that runs the scripts' own way; see tests/reference/README.md.
namespace {

struct Reference {
  std::map<std::string, torch::Tensor> tensors;
  nlohmann::json settings;

  const torch::Tensor& at(const std::string& name) const { return tensors.at(name); }
  std::vector<torch::Tensor> feedback(const std::string& rule) const {
    std::vector<torch::Tensor> matrices;
    for (int l = 0; tensors.count(rule + ".feedback." + std::to_string(l)); ++l) {
      matrices.push_back(at(rule + ".feedback." + std::to_string(l)));
    }
    return matrices;
  }
};

const Reference& reference() {
  static const Reference read = [] {
    const auto file = io::read_safetensors(std::string(CREDITLIB_TESTS_DIR) + "/reference/parity.safetensors");
    return Reference{{file.tensors.begin(), file.tensors.end()}, nlohmann::json::parse(file.metadata.at("settings"))};
  }();
  return read;
}

ResidualMLP first_model(torch::Dtype dtype) {
  const auto& settings = reference().settings;
  auto model = ResidualMLP({.input = settings["input"],
                            .width = settings["width"],
                            .classes = settings["classes"],
                            .blocks = settings["blocks"]});
  model->to(dtype);
  const torch::NoGradGuard no_grad;
  for (auto& entry : model->named_parameters()) entry.value().copy_(reference().at("init." + entry.key()));
  return model;
}

/// Runs the case's steps; the losses before each.
template <class Trainer>
torch::Tensor run(Trainer&& trainer, torch::Dtype dtype) {
  const auto& settings = reference().settings;
  const auto x = reference().at("x").to(dtype), y = reference().at("y");
  std::vector<torch::Tensor> losses;
  std::int64_t first = 0;
  for (int epoch = 0; epoch < settings["epochs"]; ++epoch) {
    for (const std::int64_t size : settings["batches"]) {
      losses.push_back(trainer.step(x.narrow(0, first, size), y.narrow(0, first, size)).loss);
      first += size;
    }
    trainer.end_epoch();
  }
  REQUIRE(first == x.size(0));
  return torch::stack(losses);
}

torch::Tensor run_case(const std::string& name, ResidualMLP& model, torch::Dtype dtype) {
  const auto& settings = reference().settings;
  const auto& the_case = settings["cases"][name];
  TrainerOptions options{.lr = settings["lr"], .weight_decay = settings["weight_decay"], .epochs = settings["epochs"]};
  if (the_case.contains("clip_norm")) options.clip_norm = the_case["clip_norm"].get<double>();
  const RowRms rms{.eps = settings["rms_epsilon"]};
  const std::string rule = the_case["rule"];
  if (rule == "bp") return run(BackpropTrainer(model, options), dtype);
  if (rule == "fa")
    return run(LocalTrainer(model, FA{.feedback = reference().feedback("fa")}, options, {}, rms), dtype);
  const DFA dfa{.feedback = reference().feedback("dfa")};
  if (the_case.contains("penalty")) {
    return run(LocalTrainer(model, dfa, options, {}, rms, PenalizedInnerProduct{.lambda = the_case["penalty"]}), dtype);
  }
  return run(LocalTrainer(model, dfa, options, {}, rms), dtype);
}

}  // namespace

TEST_CASE("20 steps end where the reference in PyTorch ends", "[parity]") {
  const auto name = GENERATE(as<std::string>(), "bp", "bp_clip", "fa", "fa_clip", "dfa", "dfa_clip", "dfa_penalty");
  INFO(name);
  REQUIRE(reference().settings["cases"].size() == 7);

  SECTION("in float64 every parameter within 1e-10") {
    auto model = first_model(torch::kFloat64);

    const auto losses = run_case(name, model, torch::kFloat64);

    for (const auto& entry : model->named_parameters()) {
      INFO(entry.key());
      const auto apart =
          (entry.value() - reference().at(name + ".float64.final." + entry.key())).abs().max().item<double>();
      CHECK(apart < 1e-10);
    }
    CHECK((losses - reference().at(name + ".float64.loss")).abs().max().item<double>() < 1e-10);
  }
  SECTION("in float32 the rms of the differences below a thousandth of the rms movement") {
    auto model = first_model(torch::kFloat32);

    const auto losses = run_case(name, model, torch::kFloat32);

    double apart = 0, moved = 0;
    for (const auto& entry : model->named_parameters()) {
      const auto end = reference().at(name + ".float32.final." + entry.key()).to(torch::kFloat64);
      apart += (entry.value().to(torch::kFloat64) - end).square().sum().item<double>();
      moved += (end - reference().at("init." + entry.key())).square().sum().item<double>();
    }
    CHECK(moved > 0);
    CHECK(std::sqrt(apart) < std::sqrt(moved) / 1000);
    CHECK((losses - reference().at(name + ".float32.loss")).abs().max().item<double>() < 1e-3);
  }
}
