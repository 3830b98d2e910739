// SPDX-License-Identifier: Apache-2.0
// The same program with local credit.

#include <torch/torch.h>

#include <creditlib/creditlib.hpp>

#include "bring_your_own/digits.hpp"
#include "bring_your_own/train.hpp"

namespace nn = torch::nn;
using torch::data::make_data_loader, torch::data::transforms::Stack;
using torch::optim::AdamOptions, torch::optim::OptimizerParamGroup;

namespace bring_your_own {

void train_after(std::int64_t epochs, std::uint64_t seed, const Report& report) {
  torch::manual_seed(seed);
  nn::Conv2d first(nn::Conv2dOptions(1, 16, 3).padding(1)), second(nn::Conv2dOptions(16, 32, 3).padding(1));
  nn::Linear third(32 * 4 * 4, 64), head(64, 10);
  creditlib::SequentialBlocks model({
      .blocks = {nn::Sequential(first, nn::BatchNorm2d(16), nn::ReLU()),
                 nn::Sequential(second, nn::BatchNorm2d(32), nn::ReLU(), nn::MaxPool2d(2)),
                 nn::Sequential(nn::Flatten(), third, nn::ReLU())},
      .readout = nn::Sequential(head),
      .example = torch::zeros({1, 1, 8, 8}),
  });
  creditlib::LocalTrainer trainer(model, creditlib::DFA{}, {.epochs = epochs});

  std::vector<torch::Tensor> weights, others;  // biases and norms, which do not decay
  for (const auto& p : model->parameters()) (p.dim() > 1 ? weights : others).push_back(p);
  std::vector<OptimizerParamGroup> groups;
  groups.emplace_back(weights, std::make_unique<AdamOptions>(AdamOptions(1e-3).weight_decay(1e-3)));
  groups.emplace_back(others, std::make_unique<AdamOptions>(AdamOptions(1e-3)));
  torch::optim::Adam optimizer(groups);
  torch::optim::StepLR schedule(optimizer, /*step_size=*/5, /*gamma=*/0.5);

  const auto train = make_data_loader(Digits(Digits::Split::Train).map(Stack<>()), /*batch size*/ 32);
  const auto test = make_data_loader(Digits(Digits::Split::Test).map(Stack<>()), 360);
  for (std::int64_t epoch = 1; epoch <= epochs; ++epoch) {
    model->train();
    double loss_sum = 0, batches = 0;
    for (const auto& [x, y] : *train) {
      optimizer.zero_grad();
      const auto loss = trainer.backward(x, y).loss;
      optimizer.step();
      trainer.end_step();
      loss_sum += loss.item<double>();
      ++batches;
    }
    schedule.step();
    trainer.end_epoch();

    model->eval();
    const torch::NoGradGuard no_grad;
    const auto [x, y] = *test->begin();
    report(epoch, loss_sum / batches, model->forward(x).argmax(1).eq(y).to(torch::kFloat64).mean().item<double>());
  }
}

}  // namespace bring_your_own
