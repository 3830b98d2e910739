// SPDX-License-Identifier: Apache-2.0
#include <creditlib/optim/clip.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("clip_norm scales a group together, as torch's clip_grad_norm_ does, and nothing else", "[optim]") {
  for (const double most : {0.1, 1.0, 100.0}) {
    torch::manual_seed(3);
    std::vector<torch::Tensor> gradients{torch::randn({3, 2}), {}, torch::randn({5}), torch::randn({2})};
    const auto given = copies(gradients);
    const auto held = gradients;
    std::vector<torch::Tensor> parameters;
    for (const std::size_t i : {0, 2}) {
      parameters.push_back(torch::zeros_like(given[i]));
      parameters.back().mutable_grad() = given[i].clone();
    }
    torch::nn::utils::clip_grad_norm_(parameters, most);

    optim::clip_norm(gradients, {0, 1, 2}, most);

    CHECK(torch::equal(gradients[0], parameters[0].grad()));
    CHECK(!gradients[1].defined());
    CHECK(torch::equal(gradients[2], parameters[1].grad()));
    CHECK(torch::equal(gradients[3], given[3]));
    CHECK(same(held, given));
    const double norm = std::hypot(gradients[0].norm().item<double>(), gradients[2].norm().item<double>());
    const double free = std::hypot(given[0].norm().item<double>(), given[2].norm().item<double>());
    CHECK(norm == Approx(std::min(free, most)).epsilon(1e-5));
  }
}

TEST_CASE("clip_norm of gradients that are all undefined does nothing", "[optim]") {
  std::vector<torch::Tensor> gradients(2);

  optim::clip_norm(gradients, {0, 1}, 1);

  CHECK(!gradients[0].defined());
}
