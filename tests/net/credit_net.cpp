// SPDX-License-Identifier: Apache-2.0
#include <creditlib/net/credit_net.hpp>
#include <set>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

const CreditNetOptions options{.state = 6, .condition = 4, .output = 5, .hidden = 7, .layers = 2, .time = 8};

BindContext context(torch::Dtype dtype = torch::kFloat32, std::uint64_t seed = 7) {
  return {torch::kCPU, dtype, torch::make_generator<at::CPUGeneratorImpl>(seed)};
}

}  // namespace

TEST_CASE("a credit net is a perceptron of the normalised state, the time and the condition", "[net]") {
  const CreditNet net(options, context(torch::kFloat64));
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : net->parameters()) parameter.normal_();
  }
  const auto p = net->named_parameters();
  const auto h = torch::randn({3, 2, 3}, torch::kFloat64), s = torch::randn({3, 4}, torch::kFloat64);

  const auto answer = net->forward(h, 0.3, s);

  REQUIRE(answer.sizes() == torch::IntArrayRef({3, 5}));
  const auto gelu = [](double z) { return z * (1 + std::erf(z / std::sqrt(2.0))) / 2; };
  for (std::int64_t b = 0; b < 3; ++b) {
    const auto x = h[b].flatten();
    const auto deviation = (x - x.mean()).square().mean().add(1e-5).sqrt();
    const auto normal = (x - x.mean()) / deviation * p["ln.weight"] + p["ln.bias"];
    auto z = torch::cat({normal, time_embedding(0.3, 8, torch::kFloat64), s[b]});
    for (const std::string layer : {"net.0.", "net.2.", "net.4."}) {
      if (layer != "net.0.") {
        z = z.detach().clone();
        for (std::int64_t i = 0; i < z.numel(); ++i) z[i] = gelu(z[i].item<double>());
      }
      z = p[layer + "weight"].mv(z) + p[layer + "bias"];
    }
    CHECK(distance(answer[b], z) < 1e-12);
  }
}

TEST_CASE("a credit net starts as PyTorch's Linear and LayerNorm do, from the context's numbers", "[net]") {
  const CreditNetOptions wide{.state = 300, .condition = 10, .output = 300};
  const auto before = global_generator_state();

  const CreditNet net(wide, context()), twice(wide, context(torch::kFloat64)), other(wide, context(torch::kFloat32, 8));

  CHECK(torch::equal(before, global_generator_state()));
  const auto p = net->named_parameters(), d = twice->named_parameters(), o = other->named_parameters();
  CHECK(p.size() == 2 + 2 * 4);
  CHECK(p["ln.weight"].eq(1).all().item<bool>());
  CHECK(p["ln.bias"].eq(0).all().item<bool>());
  std::vector<std::int64_t> in{300 + 32 + 10, 256, 256, 256};
  for (std::size_t i = 0; i < in.size(); ++i) {
    const double bound = 1 / std::sqrt(static_cast<double>(in[i]));
    for (const std::string part : {"weight", "bias"}) {
      const auto name = c10::str("net.", 2 * i, ".", part);
      INFO(name);
      CHECK(p[name].requires_grad());
      CHECK(torch::equal(p[name], d[name].to(torch::kFloat32)));
      CHECK(!torch::equal(p[name], o[name]));
      const auto x = p[name].detach() / bound;
      CHECK(x.abs().max().item<double>() <= 1);
      CHECK(x.abs().max().item<double>() > 0.95);
      // The mean of n uniform numbers deviates by sqrt(1 / (3 n)), that of their squares by about sqrt(4 / (45 n)).
      const double n = static_cast<double>(x.numel());
      CHECK(std::abs(x.mean().item<double>()) < 5 * std::sqrt(1 / (3 * n)));
      CHECK(std::abs(x.square().mean().item<double>() - 1.0 / 3) < 5 * std::sqrt(4 / (45 * n)));
    }
  }
}

TEST_CASE("the numbers of a credit net are drawn one after the other: none twice", "[net]") {
  const CreditNet net(options, context());

  std::set<float> seen;
  std::int64_t drawn = 0;
  for (const auto& entry : net->named_parameters()) {
    if (entry.key().rfind("net.", 0) != 0) continue;
    const auto flat = entry.value().detach().flatten();
    for (std::int64_t i = 0; i < flat.numel(); ++i) seen.insert(flat[i].item<float>());
    drawn += flat.numel();
  }
  CHECK(static_cast<std::int64_t>(seen.size()) > drawn - 3);
}

TEST_CASE("a frozen copy of a credit net has its numbers and none of its storage", "[net]") {
  const CreditNet net(options, context());
  const CreditNet copy(net->frozen_copy());
  const auto h = torch::randn({2, 6}), s = torch::randn({2, 4});

  CHECK(torch::equal(net->forward(h, 0.5, s), copy->forward(h, 0.5, s)));
  CHECK(!copy->forward(h, 0.5, s).requires_grad());
  CHECK(net->forward(h, 0.5, s).requires_grad());
  const auto before = copies(copy->parameters());
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : net->parameters()) parameter.add_(1);
  }
  CHECK(same(before, copies(copy->parameters())));
}

TEST_CASE("a credit net goes on in another dtype", "[net]") {
  CreditNet net(options, context());
  const auto h = torch::randn({2, 6}), s = torch::randn({2, 4});
  const auto before = net->forward(h, 0.5, s);

  net->to(torch::kFloat64);

  CHECK(distance(before, net->forward(h.to(torch::kFloat64), 0.5, s.to(torch::kFloat64))) < 1e-5);
}

TEST_CASE("a credit net says what does not fit", "[net]") {
  const auto made = [](const CreditNetOptions& of) { return error_of([&] { CreditNet(of, context()); }); };

  CHECK(says(made({.condition = 1, .output = 1}), {"CreditNet: state is 0, expected at least 1."}));
  CHECK(says(made({.state = 1, .output = 1}), {"CreditNet: condition is 0"}));
  CHECK(says(made({.state = 1, .condition = 1}), {"CreditNet: output is 0"}));
  CHECK(says(made({.state = 1, .condition = 1, .output = 1, .hidden = 0}), {"CreditNet: hidden is 0"}));
  CHECK(says(made({.state = 1, .condition = 1, .output = 1, .layers = -1}), {"CreditNet: layers is -1"}));
  CHECK(says(made({.state = 1, .condition = 1, .output = 1, .time = 7}), {"CreditNet: time is 7", "even"}));

  const CreditNet net(options, context());
  CHECK(says(error_of([&] { net->forward(torch::zeros({2, 5}), 0, torch::zeros({2, 4})); }),
             {"CreditNet: h is (2, 5) and s (2, 4), expected 6 and 4 numbers per sample."}));
  CHECK(says(error_of([&] { net->forward(torch::zeros({2, 6}), 0, torch::zeros({2, 3})); }), {"s (2, 3)"}));
}
