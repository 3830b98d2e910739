// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/backprop_trainer.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <string>
#include <vector>

#include "test.hpp"

/// How far a rule's credit and the true gradient are aligned at the start of training, over many seeds of the rule,
/// beside what random matrices give.
namespace creditlib::test {

inline constexpr std::int64_t alignment_width = 48;
inline constexpr int few_seeds = 16, many_seeds = 120;

struct AlignmentTask {
  ResidualMLP model = nullptr;
  torch::Tensor x, y;
  std::vector<torch::Tensor> gradients;  ///< dloss_i/dh_l
  torch::Tensor error;                   ///< dloss_i/dlogits
};

inline const AlignmentTask& alignment_task() {
  static const AlignmentTask task = [] {
    torch::manual_seed(9);
    AlignmentTask made;
    made.model = ResidualMLP({.input = 30, .width = alignment_width, .classes = 10, .blocks = 3});
    made.x = torch::randn({24, 30});
    made.y = torch::randint(10, {24});
    BackpropTrainer trainer(made.model);
    made.gradients = trainer.credits(made.x, made.y);
    made.error = made.model->forward(made.x).detach().softmax(1) - torch::one_hot(made.y, 10);
    return made;
  }();
  return task;
}

/// The batch mean of the samples' cosines.
inline double mean_cosine(const torch::Tensor& a, const torch::Tensor& g) {
  const auto x = a.to(torch::kFloat64), z = g.to(torch::kFloat64);
  return ((x * z).sum(1) / (x.norm(2, 1) * z.norm(2, 1))).mean().item<double>();
}

/// For each hidden state the batch-mean cosine at each of so many seeds.
template <class Rule>
std::vector<std::vector<double>> alignment_over_seeds(int seeds) {
  const auto& task = alignment_task();
  std::vector<std::vector<double>> gamma(task.gradients.size());
  for (int seed = 0; seed < seeds; ++seed) {
    LocalTrainer trainer(task.model, Rule{}, {.seed = seed});
    const auto credits = trainer.credits(task.x, task.y);
    for (std::size_t l = 0; l < gamma.size(); ++l) gamma[l].push_back(mean_cosine(credits[l], task.gradients[l]));
  }
  return gamma;
}

inline double root_mean_square(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

/// "" where cosines over seeds are what random matrices give at h_l of what is sent, (B, C), or what is not.
///
/// A random matrix sends a sample's row into a direction that is uniform and independent of the gradient: its cosine
/// has mean 0 and variance 1/d, the batch mean's variance is at most that. Its distribution is that of fresh matrices,
/// drawn here.
inline std::string as_of_random_matrices(const std::vector<double>& gamma, std::size_t l,
                                         const torch::Tensor& sent = alignment_task().error) {
  const auto& task = alignment_task();
  torch::manual_seed(31);
  std::vector<double> null;
  for (int seed = 0; seed < 4 * many_seeds; ++seed) {
    null.push_back(mean_cosine(sent.mm(torch::randn({10, alignment_width})), task.gradients[l]));
  }
  double mean = 0;
  for (const double value : gamma) mean += value / static_cast<double>(gamma.size());
  const double spread = root_mean_square(gamma), expected = root_mean_square(null);
  const double bound = 1 / std::sqrt(static_cast<double>(alignment_width));

  if (std::abs(mean) > 4 * bound / std::sqrt(static_cast<double>(gamma.size()))) return "mean " + std::to_string(mean);
  // The variance's own relative deviation is sqrt(2 / seeds), that of the root half of it; four of those and some for
  // the null's. Of 120 seeds that is 1.35.
  const double within = 1.09 + 4 * std::sqrt(0.5 / static_cast<double>(gamma.size()));
  if (spread > within * expected || spread < expected / within) {
    return "spread " + std::to_string(spread) + ", of random matrices " + std::to_string(expected);
  }
  for (const double value : gamma) {
    if (std::abs(value) > 5 * bound) return "an outlier of " + std::to_string(value);
  }
  return "";
}

}  // namespace creditlib::test
