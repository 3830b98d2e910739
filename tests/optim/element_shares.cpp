// SPDX-License-Identifier: Apache-2.0
#include <creditlib/optim/adamw.hpp>
#include <creditlib/optim/detail/element_shares.hpp>
#include <creditlib/optim/sgd.hpp>
#include <vector>

#include "../test.hpp"
#include "../threads.hpp"

using creditlib::detail::ElementShares;
using creditlib::test::Threads;

namespace {

/// Large and small, a scalar, one that is empty and one that is not contiguous.
std::vector<torch::Tensor> parameters_of() {
  torch::manual_seed(3);
  return {torch::randn({300, 400}),     torch::randn({7}),          torch::randn({}), torch::randn({0, 3}),
          torch::randn({200, 300}).t(), torch::randn({3, 100, 200})};
}

/// The parameters after some steps on this many threads.
template <class Optimizer>
std::vector<torch::Tensor> trained(int threads, const typename Optimizer::Options& options) {
  const Threads these(threads);
  auto parameters = parameters_of();
  Optimizer optimizer(parameters, options);
  for (int step = 0; step < 3; ++step) {
    for (auto& parameter : parameters) parameter.mutable_grad() = torch::randn_like(parameter);
    optimizer.step();
  }
  return parameters;
}

}  // namespace

TEST_CASE("shares cover every element once, and are of one size where tensors can be cut", "[optim][threads]") {
  for (const int threads : {1, 2, 3}) {
    const Threads these(threads);
    const auto tensors = parameters_of();
    const ElementShares shares(tensors);
    CHECK(shares.count() == threads);
    auto counted = parameters_of();
    for (auto& tensor : counted) tensor.zero_();
    for (std::int64_t i = 0; i < shares.count(); ++i) {
      std::int64_t size = 0;
      for (auto& piece : shares.of(counted, i)) {
        piece.add_(1);
        size += piece.numel();
      }
      CHECK(shares.whole(tensors, i).size() == shares.of(tensors, i).size());
      CHECK(std::abs(size - 240008 / threads) <= threads);
    }
    for (const auto& tensor : counted) CHECK(tensor.eq(1).all().item<bool>());
  }
  const Threads three(3);
  CHECK(ElementShares({torch::zeros({10})}).count() == 1);
  CHECK(ElementShares({}).count() == 0);
  CHECK(ElementShares({torch::zeros({0})}).count() == 0);
}

TEST_CASE("tensors larger than a share are updated whatever their layout", "[optim][threads]") {
  const std::vector<torch::Tensor> layouts{torch::zeros({300, 800}).t(), torch::zeros({2, 300, 800}).select(0, 1)};
  for (const auto& parameter : layouts) {
    const Threads three(3);
    torch::Tensor(parameter).mutable_grad() = torch::ones_like(parameter);
    creditlib::optim::AdamW adamw(std::vector<torch::Tensor>{parameter}, {.lr = .1, .weight_decay = 0});
    adamw.step();
    CHECK((parameter + .1).abs().max().item<float>() < 1e-6);
  }
}

TEST_CASE("an update on several threads is the update of one", "[optim][threads]") {
  const auto distance = [](const auto& a, const auto& b) {
    double most = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i].numel() > 0) most = std::max(most, (a[i] - b[i]).abs().max().template item<double>());
    }
    return most;
  };
  for (const int threads : {2, 3}) {
    CHECK(distance(trained<creditlib::optim::AdamW>(threads, {.lr = .1}),
                   trained<creditlib::optim::AdamW>(1, {.lr = .1})) < 1e-6);
    CHECK(distance(trained<creditlib::optim::AdamW>(threads, {.lr = .1, .lr_in_tensor = true}),
                   trained<creditlib::optim::AdamW>(1, {.lr = .1, .lr_in_tensor = true})) < 1e-6);
    for (const double momentum : {0., .9}) {
      CHECK(distance(trained<creditlib::optim::SGD>(threads, {.lr = .1, .momentum = momentum}),
                     trained<creditlib::optim::SGD>(1, {.lr = .1, .momentum = momentum})) < 1e-6);
    }
  }
}
