// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <creditlib/closed_form/detail/pass.hpp>
#include <creditlib/closed_form/detail/stacked_pass.hpp>
#include <creditlib/detail/stacked.hpp>
#include <string>
#include <utility>
#include <vector>

#include "../test.hpp"

using namespace creditlib;

// The pass of devices, which is as good on the CPU, next to the CPU's.
namespace {

/// A network by formula whose blocks are of two kinds, by turns.
struct Mixed {
  std::vector<torch::Tensor> parameters;
  closed_form::Network network;
  torch::TensorOptions options;

  explicit Mixed(torch::Dtype dtype, bool residual, bool with_embed) : options(dtype) {
    torch::manual_seed(3);
    network.residual = residual;
    if (with_embed) network.embed = {linear(5, 6), closed_form::ReLU{}};
    const auto inputs = with_embed ? 6 : 5, width = residual ? inputs : 6;
    for (const auto in : {inputs, width, width, width, width}) {
      if (network.blocks.size() % 2 == 0) {
        network.blocks.push_back({norm(in), linear(in, 8), closed_form::GELU{}, linear(8, width)});
      } else {
        network.blocks.push_back({linear(in, 7, /*bias=*/false), closed_form::Tanh{}, norm(7), closed_form::ReLU{},
                                  linear(7, width), closed_form::LayerNorm{}});
      }
    }
    network.readout = {norm(width), linear(width, 3)};
  }

  closed_form::Linear linear(std::int64_t in, std::int64_t out, bool bias = true) {
    return {made({out, in}), bias ? made({out}) : torch::Tensor()};
  }
  closed_form::LayerNorm norm(std::int64_t width) { return {made({width}), made({width})}; }
  torch::Tensor made(torch::IntArrayRef sizes) {
    parameters.push_back(torch::randn(sizes, options).requires_grad_());
    return parameters.back();
  }
};

void check_close(const std::vector<torch::Tensor>& found, const std::vector<torch::Tensor>& expected,
                 double tolerance) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO(i);
    REQUIRE(found[i].defined() == expected[i].defined());
    if (found[i].defined()) {
      CHECK(found[i].sizes() == expected[i].sizes());
      CHECK(torch::allclose(found[i], expected[i], tolerance, tolerance));
    }
  }
}

/// The gradients of a backward pass, which it has told of, each once and as it then was.
template <class Backward>
std::vector<torch::Tensor> as_told(const Mixed& mixed, const Backward& backward) {
  std::vector<torch::Tensor> told(mixed.parameters.size());
  const auto gradients = backward([&](const torch::Tensor& parameter, const torch::Tensor& gradient) {
    const auto is_this = [&](const torch::Tensor& other) { return other.is_same(parameter); };
    const auto at = std::ranges::find_if(mixed.parameters, is_this) - mixed.parameters.begin();
    auto& place = told.at(static_cast<std::size_t>(at));
    CHECK_FALSE(place.defined());
    place = gradient.clone();
  });
  check_close(told, gradients, 0);
  return gradients;
}

/// All that a pass gives.
template <class MakePass>
std::vector<torch::Tensor> all_of_pass(const Mixed& mixed, const MakePass& make, bool with_penalty) {
  torch::manual_seed(4);
  const auto x = torch::randn({4, 5}, mixed.options), error = torch::randn({4, 3}, mixed.options);
  std::vector<torch::Tensor> all;
  const auto add = [&](const std::vector<torch::Tensor>& more) {
    for (const auto& one : more) all.push_back(one.defined() ? one.detach().clone() : one);
  };
  auto pass = make();
  const auto trace = pass.forward(x);
  add(trace.hidden);
  add(trace.branch);
  add({trace.logits});
  creditlib::detail::OutputGradients from;
  if (!mixed.network.embed.empty()) from.embed.dense = torch::randn_like(trace.hidden[0]);
  for (std::size_t l = 0; l < trace.branch.size(); ++l) {
    add({pass.pullback(static_cast<std::int64_t>(l), torch::randn_like(trace.branch[l]))});
    add({pass.push(static_cast<std::int64_t>(l), torch::randn_like(trace.hidden[l]))});
    from.blocks.push_back({torch::randn_like(trace.branch[l]), {}});
  }
  add({pass.push(pass.blocks(), torch::randn_like(trace.hidden.back()))});
  from.readout = error;
  add(as_told(mixed, [&](const auto& ready) { return pass.gradients(from, mixed.parameters, ready); }));
  pass.forward(x);
  add(as_told(mixed, [&](const auto& ready) {
    return pass.backpropagate(error, with_penalty ? 0.3 : 0, mixed.parameters, ready);
  }));
  auto states = trace.hidden;
  for (auto& h : states) h = h + torch::randn_like(h);
  pass.forward(x);
  const auto outputs = pass.rerun(states);
  add(outputs.branch);
  add({outputs.logits});
  add(pass.gradients(from, mixed.parameters, /*ready=*/{}));
  return all;
}

void check_passes(const Mixed& mixed, MatmulPrecision precision, double tolerance) {
  for (const bool penalty : {false, true}) {
    CAPTURE(penalty);
    const auto expected = all_of_pass(
        mixed, [&] { return creditlib::detail::ClosedFormPass(mixed.network, mixed.parameters, precision); }, penalty);
    const auto found = all_of_pass(
        mixed, [&] { return creditlib::detail::StackedPass(mixed.network, mixed.parameters, precision); }, penalty);
    check_close(found, expected, tolerance);
  }
}

}  // namespace

TEST_CASE("the pass of devices gives the CPU's numbers, of blocks of several kinds too", "[closed_form]") {
  for (const bool residual : {true, false}) {
    for (const bool with_embed : {true, false}) {
      CAPTURE(residual, with_embed);
      check_passes(Mixed(torch::kFloat64, residual, with_embed), MatmulPrecision::Float32, 1e-10);
      Mixed frozen(torch::kFloat64, residual, with_embed);
      for (std::size_t i = 0; i < frozen.parameters.size(); i += 3) frozen.parameters[i].requires_grad_(false);
      check_passes(frozen, MatmulPrecision::Float32, 1e-10);
    }
  }
  check_passes(Mixed(torch::kFloat32, true, true), MatmulPrecision::BFloat16, 0.1);
}

TEST_CASE("gradients of the pass of devices are each a tensor of its own", "[closed_form]") {
  const Mixed mixed(torch::kFloat32, true, true);
  creditlib::detail::StackedPass pass(mixed.network, mixed.parameters, MatmulPrecision::Float32);
  pass.forward(torch::randn({4, 5}));
  const auto gradients = pass.backpropagate(torch::randn({4, 3}), 0, mixed.parameters, /*ready=*/{});
  for (const auto& gradient : gradients) {
    CHECK(!gradient.is_view());
    CHECK(gradient.is_contiguous());
    const auto others = gradients[0].is_same(gradient) ? gradients[1] : gradients[0];
    const auto before = others.clone();
    gradient.detach_().zero_();  // as zero_grad does
    CHECK(torch::equal(others, before));
    others.copy_(before + 1);
  }
}

TEST_CASE("tensors that lie one after another are stacked without a copy", "[closed_form]") {
  const auto all = torch::arange(12).view({3, 2, 2});
  const auto parts = all.unbind();
  CHECK(creditlib::detail::stacked(parts).data_ptr() == all.data_ptr());
  CHECK(torch::equal(creditlib::detail::stacked(parts), all));
  const auto same_as_stack = [](const std::vector<torch::Tensor>& given) {
    const auto found = creditlib::detail::stacked(given);
    return torch::equal(found, torch::stack(given)) && found.data_ptr() != given[0].data_ptr();
  };
  CHECK(same_as_stack({parts[1], parts[0]}));
  CHECK(same_as_stack({parts[0], parts[2]}));
  CHECK(same_as_stack({parts[0], parts[1].t()}));
  CHECK(same_as_stack({parts[0], parts[1].clone()}));
  CHECK(same_as_stack({parts[0], parts[0]}));
  CHECK(creditlib::detail::stacked({parts[2].t()}).sizes() == torch::IntArrayRef({1, 2, 2}));
}
