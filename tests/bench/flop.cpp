// SPDX-License-Identifier: Apache-2.0
#include "support/flop.hpp"

#include <torch/nn/functional/conv.h>

#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

#include "../test.hpp"

using namespace creditlib;
using bench::product_flop;

namespace {

constexpr double B = 32, in = 40, d = 24, C = 3, L = 2;
constexpr double forward = in * d + 2 * L * d * d + d * C;  // multiplications for a sample

ResidualMLP network() { return ResidualMLP({.input = 40, .width = 24, .classes = 3, .blocks = 2}); }

template <class Trainer>
double flop_of_step(Trainer trainer) {
  const auto x = torch::randn({32, 40});
  const auto y = torch::randint(3, {32}, torch::kInt64);
  trainer.step(x, y);
  return product_flop([&] { trainer.step(x, y); });
}

}  // namespace

TEST_CASE("product_flop counts products, whatever form they have, and nothing else", "[bench]") {
  const auto a = torch::randn({5, 7}), b = torch::randn({7, 11}), batch = torch::randn({3, 5, 7});
  auto out = torch::empty({5, 11});
  CHECK(product_flop([&] { a.mm(b); }) == 2 * 5 * 7 * 11);
  CHECK(product_flop([&] { at::mm_out(out, a, b); }) == 2 * 5 * 7 * 11);
  CHECK(product_flop([&] { out.addmm_(a, b); }) == 2 * 5 * 7 * 11);
  CHECK(product_flop([&] { at::linear(a, b.t(), torch::randn(11)); }) == 2 * 5 * 7 * 11);
  CHECK(product_flop([&] { at::matmul(batch, b); }) == 2 * 15 * 7 * 11);
  CHECK(product_flop([&] { batch.bmm(b.expand({3, 7, 11})); }) == 2 * 15 * 7 * 11);
  CHECK(product_flop([&] { a.mv(b.select(1, 0)); }) == 2 * 5 * 7);
  CHECK(product_flop([&] { at::gelu(a * 2 + a.sum()); }) == 0);
  CHECK(product_flop([&] { out.addmm_(a, b).mm(b.t()); }) == 2 * 2 * 5 * 7 * 11);
  a.mm(b);
  CHECK(product_flop([] {}) == 0);
}

TEST_CASE("product_flop counts convolutions by their windows, and backward what is asked for", "[bench]") {
  namespace F = torch::nn::functional;
  const auto x = torch::randn({2, 4, 9, 8}), w = torch::randn({6, 2, 3, 3}, torch::requires_grad());
  const auto options = F::Conv2dFuncOptions().stride({2, 1}).padding({1, 0}).groups(2);
  const double once = 2 * (2 * 6 * 5 * 6) * (2 * 3 * 3);  // the output is (2, 6, 5, 6)
  CHECK(product_flop([&] { F::conv2d(x, w, options); }) == once);
  CHECK(product_flop([&] { F::conv2d(x, w, options).sum().backward(); }) == 2 * once);
  const auto z = x.clone().requires_grad_();
  CHECK(product_flop([&] { F::conv2d(z, w, options).sum().backward(); }) == 3 * once);
  const auto up = torch::randn({4, 5, 3, 3});
  CHECK(product_flop([&] { F::conv_transpose2d(x, up); }) == 2 * (2 * 4 * 9 * 8) * (5 * 3 * 3));
}

TEST_CASE("product_flop counts attention's two products", "[bench]") {
  const auto q = torch::randn({2, 3, 10, 4}, torch::requires_grad()), k = torch::randn({2, 3, 8, 4}),
             v = torch::randn({2, 3, 8, 4});
  const double one = 2 * (2 * 3) * 10 * 8 * 4;
  torch::Tensor out;
  CHECK(product_flop([&] { out = at::scaled_dot_product_attention(q, k, v); }) == 2 * one);
  CHECK(product_flop([&] { out.sum().backward(); }) >= 2 * one);
}

// A block costs back-propagation two products of B d d forward and four backward, feedback alignment one less backward
// and one for its credit, and DFA, whose credit has rank C, one of them backward. Where no gradient passes through a
// layer norm its shift's is a product with the weights above it, and the biases' of credit kept as factors with those.
TEST_CASE("a step's products are those that its rule needs", "[bench][closed_form]") {
  const double readout = B * d * C;
  const double bp = B * forward + 2 * readout + L * 4 * B * d * d + B * in * d;
  CHECK(flop_of_step(BackpropTrainer(network())) == 2 * bp);

  const double shifts = L * d * d + C * d;
  CHECK(flop_of_step(LocalTrainer(network(), FA{})) == 2 * (bp + shifts));

  const double block = 2 * B * C * d + 2 * C * d * d + B * d * d, embed = C * B * in + C * d * in;
  const double biases = (L + 1) * C * d;
  CHECK(flop_of_step(LocalTrainer(network(), DFA{})) ==
        2 * (B * forward + readout + L * block + embed + shifts + biases));
}
