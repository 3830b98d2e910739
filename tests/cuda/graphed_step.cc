// SPDX-License-Identifier: Apache-2.0
// Training with CUDA graphs beside training without, on a GPU. Where there is none it ends with 77, which ctest takes for skipped.
//
// Not a .cpp: those are all in the one program of tests/, which is built without CUDA's headers.

#include <c10/cuda/CUDAFunctions.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/dropout.h>

#include <algorithm>
#include <chrono>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/credit/value_net.hpp>
#include <creditlib/cuda/graphed_step.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

using namespace creditlib;

namespace {

constexpr std::int64_t inputs = 12, classes = 5, epochs = 6;
int failures = 0;
bool without_graphs = false;  ///< --eager: for tools that graphs do not go with

void check(bool holds, const std::string& what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what.c_str());
  ++failures;
}

ResidualMLP residual_mlp(torch::Device device) {
  torch::manual_seed(1);
  ResidualMLP model({.input = inputs, .width = 64, .classes = classes, .blocks = 3});
  model->to(device);
  return model;
}

SequentialBlocks with_layers(torch::Device device, double dropout) {
  namespace nn = torch::nn;
  torch::manual_seed(1);
  const auto block = [&](std::int64_t in) {
    return nn::Sequential(nn::Linear(in, 32), nn::BatchNorm1d(32), nn::GELU(), nn::Dropout(dropout));
  };
  SequentialBlocks model({.blocks = {block(inputs), block(32)},
                          .readout = nn::Sequential(nn::Linear(32, classes)),
                          .example = torch::zeros({2, inputs})});
  model->to(device);
  return model;
}

/// No step in its scope may wait for the device.
class NoSyncs {
 public:
  NoSyncs() { c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_ERROR); }
  ~NoSyncs() { c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_DISABLED); }
  NoSyncs(const NoSyncs&) = delete;
  NoSyncs& operator=(const NoSyncs&) = delete;
};

struct Run {
  std::vector<torch::Tensor> losses;  ///< on the CPU
  double last_epoch_ms = 0;           ///< a step
};

/// Epochs of four batches and a short one, the same at every call.
template <class Trainer, class Step>
Run run(Trainer& trainer, torch::Device device, const Step& step) {
  Run result;
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    std::vector<torch::Tensor> losses;
    c10::cuda::device_synchronize();
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i < 5; ++i) {
      auto generator = torch::make_generator<at::CPUGeneratorImpl>(static_cast<std::uint64_t>(100 + i));
      const std::int64_t size = i < 4 ? 32 : 7;
      const auto x = torch::randn({size, inputs}, generator).to(device);
      const auto y = torch::randint(0, classes, {size}, generator, torch::kInt64).to(device);
      const NoSyncs no_syncs;
      losses.push_back(step(x, y).loss.clone());
    }
    c10::cuda::device_synchronize();
    result.last_epoch_ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count() / 5;
    trainer.end_epoch();
    for (const auto& loss : losses) result.losses.push_back(loss.cpu());
  }
  return result;
}

double distance(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = a[i].detach().cpu().to(torch::kFloat64), y = b[i].detach().cpu().to(torch::kFloat64);
    most = std::max(most, (x - y).norm().item<double>() / std::max(y.norm().item<double>(), 1e-3));
  }
  return most;
}

/// The same run with graphs and without.
template <class Make>
void compare(const std::string& name, torch::Device device, const Make& make, std::int64_t captures = 2) {
  try {
    auto plain = make(), other = make();
    if (without_graphs) {
      const auto alone = run(plain, device, [&](const auto& x, const auto& y) { return plain.step(x, y); });
      check(alone.losses.back().isfinite().all().template item<bool>(), name + ": a loss that is not finite");
      std::printf("%-28s ms a step: %.3f\n", name.c_str(), alone.last_epoch_ms);
      return;
    }
    cuda::GraphedStep graphed(other);
    const auto expected = run(plain, device, [&](const auto& x, const auto& y) { return plain.step(x, y); });
    const auto found = run(other, device, [&](const auto& x, const auto& y) { return graphed.step(x, y); });

    const double losses = distance(found.losses, expected.losses);
    const double parameters = distance(other.model()->parameters(), plain.model()->parameters());
    const double buffers = distance(other.model()->buffers(), plain.model()->buffers());
    std::vector<torch::Tensor> gradients, expected_gradients;
    for (const auto& parameter : other.model()->parameters()) gradients.push_back(parameter.grad());
    for (const auto& parameter : plain.model()->parameters()) expected_gradients.push_back(parameter.grad());
    check(losses < 1e-4 && parameters < 1e-4 && buffers < 1e-4, name + ": other numbers with graphs");
    check(distance(gradients, expected_gradients) < 1e-3, name + ": other gradients in .grad() with graphs");
    check(other.steps() == plain.steps(), name + ": other steps() with graphs");
    check(graphed.graphs() == 2 && graphed.captures() == captures,
          name + ": " + std::to_string(graphed.captures()) + " captures, expected " + std::to_string(captures));
    std::printf("%-28s distances: losses %.1e, parameters %.1e; ms a step: %.3f without, %.3f with graphs\n",
                name.c_str(), losses, parameters, expected.last_epoch_ms, found.last_epoch_ms);
  } catch (const std::exception& error) {
    check(false, name + ": " + error.what());
  }
}

void refuses_the_cpu() {
  LocalTrainer trainer(residual_mlp(torch::kCPU), DFA{});
  std::string said;
  try {
    cuda::GraphedStep graphed(trainer);
  } catch (const Error& error) {
    said = error.what();
  }
  check(said == "cuda::GraphedStep: the model is on cpu, expected a CUDA device; use trainer.step elsewhere.",
        "a model on the CPU: " + said);
}

void draws_on_the_device(torch::Device device) {
  const auto losses = [&] {
    torch::manual_seed(1);
    LocalTrainer trainer(residual_mlp(device), ValueNet{}, {.seed = 3, .draws = Draws::Device});
    const auto x = torch::ones({32, inputs}, device),
               y = torch::zeros({32}, torch::TensorOptions(torch::kInt64).device(device));
    std::vector<torch::Tensor> all;
    for (int i = 0; i < 4; ++i) all.push_back(trainer.step(x, y).loss);
    return all;
  };
  const auto first = losses(), second = losses();
  check(first.back().isfinite().item<bool>(), "draws on the device: a loss that is not finite");
  check(distance(first, second) < 1e-4, "draws on the device: other numbers from the same seed");
}

void dropout_differs_at_every_replay(torch::Device device) {
  LocalTrainer trainer(with_layers(device, 0.5), DFA{}, {.lr = 0});
  cuda::GraphedStep graphed(trainer);
  const auto x = torch::ones({32, inputs}, device),
             y = torch::zeros({32}, torch::TensorOptions(torch::kInt64).device(device));
  for (int i = 0; i < 4; ++i) graphed.step(x, y);
  const auto first = graphed.step(x, y).loss.clone(), second = graphed.step(x, y).loss.clone();
  check(graphed.captures() == 1 && !torch::equal(first, second), "Dropout has the same mask at every replay");
}

/// A label that is no class: steps go on, no call waits, and the end of the epoch says what was wrong.
void labels_out_of_range(torch::Device device) {
  const auto x = torch::ones({32, inputs}, device);
  const auto y = torch::zeros({32}, torch::TensorOptions(torch::kInt64).device(device));
  auto wrong = y.clone();
  wrong[3] = classes + 2;
  const auto said_of = [](const auto& action) -> std::string {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  for (const bool graphs : {false, true}) {
    if (graphs && without_graphs) continue;
    const std::string how = graphs ? "with graphs: " : "without graphs: ";
    LocalTrainer trainer(residual_mlp(device), DFA{});
    cuda::GraphedStep graphed(trainer, {.warm_up = 1});
    const auto step = [&](const torch::Tensor& target) {
      const NoSyncs no_syncs;
      graphs ? graphed.step(x, target) : trainer.step(x, target);
    };
    step(y);
    step(y);
    step(wrong);
    const auto said = said_of([&] { trainer.end_epoch(); });
    check(said.find("a label is 7, expected 0..4") != std::string::npos && said.find("step 3 ") != std::string::npos,
          how + "a label out of range, by the end of an epoch: " + said);
    step(wrong);
    c10::cuda::device_synchronize();
    const auto next = said_of([&] { step(y); });
    check(next.find("step 4 ") != std::string::npos, how + "a label out of range, by the next step: " + next);
    check(said_of([&] { trainer.credits(x, wrong); }).find("a label is 7") != std::string::npos,
          how + "a label out of range, in a preview");
    check(said_of([&] { trainer.end_epoch(); }).empty(), how + "labels in range are said to be out of it");
    bool finite = true;
    for (const auto& parameter : trainer.model()->parameters()) finite &= parameter.isfinite().all().item<bool>();
    check(finite, how + "parameters that are not finite");
  }
}

}  // namespace

int main(int argc, char** argv) try {
  without_graphs = argc > 1 && std::string_view(argv[1]) == "--eager";
  refuses_the_cpu();
  if (c10::cuda::device_count() == 0) {
    std::printf("no CUDA device: this program compiles and links, and nothing of it was run on one\n");
    return failures == 0 ? 77 : 1;
  }
  const torch::Device device(torch::kCUDA, 0);
  const auto options = [](Path path) { return TrainerOptions{.clip_norm = 1.0, .epochs = epochs, .path = path}; };
  compare("DFA by formula", device,
          [&] { return LocalTrainer(residual_mlp(device), DFA{}, options(Path::ClosedForm)); });
  compare("DFA by autograd", device, [&] { return LocalTrainer(residual_mlp(device), DFA{}, options(Path::Generic)); });
  compare("DFA, constant memory", device,
          [&] { return LocalTrainer(residual_mlp(device), DFA{}, {.epochs = epochs, .memory = Memory::Constant}); });
  compare("DFA with SGD", device, [&] {
    return LocalTrainer(residual_mlp(device), DFA{}, {.lr = 1e-2, .epochs = epochs, .optimizer = Optimizer::SGD});
  });
  compare("FA", device, [&] { return LocalTrainer(residual_mlp(device), FA{}, options(Path::Auto)); });
  compare("oracle under BatchNorm", device,
          [&] { return LocalTrainer(with_layers(device, 0), Oracle{}, options(Path::Auto)); });
  // Full batches before and after the switch, and the short one in the last of the six epochs.
  compare(
      "DFA, then FA", device,
      [&] { return LocalTrainer(residual_mlp(device), Mix{DFA{}, FA{}}, options(Path::Auto), SwitchAt{.epoch = 2}); },
      3);
  compare("back-propagation", device, [&] { return BackpropTrainer(residual_mlp(device), options(Path::Auto)); });
  compare("back-propagation by autograd", device,
          [&] { return BackpropTrainer(residual_mlp(device), options(Path::Generic)); });
  compare("state predictor", device,
          [&] { return LocalTrainer(residual_mlp(device), StatePredictor{}, options(Path::Auto)); });
  compare("direct Kolen-Pollack", device,
          [&] { return LocalTrainer(residual_mlp(device), DirectKolenPollack{}, options(Path::Auto)); });
  draws_on_the_device(device);
  if (!without_graphs) dropout_differs_at_every_replay(device);
  labels_out_of_range(device);
  return failures == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::printf("FAILED: %s\n", error.what());
  return 1;
}
