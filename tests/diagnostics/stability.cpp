// SPDX-License-Identifier: Apache-2.0
#include <creditlib/diagnostics/stability.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <utility>
#include <vector>

#include "../quadratic.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("stability is the mean cosine of all pairs of batch-mean gradients at layer L/2", "[diagnostics]") {
  auto net = quadratic();
  std::vector<std::pair<torch::Tensor, torch::Tensor>> batches;
  for (int i = 0; i < 8; ++i) {
    batches.emplace_back(torch::randn({3 + i, 6}, torch::kFloat64), torch::randn({3 + i, 3}, torch::kFloat64) + 1);
  }
  const auto E = net.model->embed_parameters()[0].detach(), A = net.model->block_parameters(0)[0].detach();
  const auto expected = [&](std::size_t l) {
    std::vector<torch::Tensor> means;
    for (const auto& [x, y] : batches) {
      auto h = x.mm(E.t());
      if (l == 1) h = h.mm(A.t());
      means.push_back((h.mm(net.rest[l].t()) - y).mm(net.rest[l]).mean(0));
    }
    double sum = 0;
    for (int i = 0; i < 8; ++i) {
      for (int j = 0; j < i; ++j) sum += (means[i].dot(means[j]) / (means[i].norm() * means[j].norm())).item<double>();
    }
    return sum / 28;
  };

  CHECK(*diagnostics::stability(net.model, batches, {}, SquaredError{}).value == Approx(expected(1)));
  CHECK(*diagnostics::stability(net.model, batches, {.layer = 0}, SquaredError{}).value == Approx(expected(0)));
  batches.pop_back();
  const auto few = diagnostics::stability(net.model, batches, {}, SquaredError{});
  CHECK_FALSE(few.value);
  CHECK(few.reason == "7 batches, but at least 8 are needed");
  CHECK(says(error_of([&] { diagnostics::stability(net.model, batches, {.layer = 3}, SquaredError{}); }),
             {"no h_3", "0..2"}));
}
