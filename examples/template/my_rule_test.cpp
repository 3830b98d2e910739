// SPDX-License-Identifier: Apache-2.0
#include "my_rule.hpp"

#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/testing/laws.hpp>
#include <creditlib/trace_of.hpp>
#include <iostream>

/// Whether the credit is that of the rule's equation, by numbers that can be read off: a sample of class 1 gets minus
/// the second column of each matrix, one of class 0 minus the first.
bool has_its_equation() {
  auto model = creditlib::ResidualMLP({.input = 2, .width = 3, .classes = 2, .blocks = 1});
  const auto trace = creditlib::trace_of(model, torch::zeros({2, 2}), torch::tensor({1, 0}, torch::kInt64));
  const auto B_0 = torch::zeros({3, 2}), B_1 = torch::tensor({{1.0, 2.0}, {3.0, 4.0}, {5.0, 6.0}});

  const auto credits = MyRule::State{{B_0, B_1}}.credit(model, trace);

  return credits.size() == 2 && credits[0].equal(torch::zeros({2, 3})) &&
         credits[1].equal(torch::tensor({{-2.0, -4.0, -6.0}, {-1.0, -3.0, -5.0}}));
}

int main() {
  const auto report = creditlib::testing::check_laws(MyRule{});
  std::cout << report.text() << "\n";
  const bool right = has_its_equation();
  if (!right) std::cout << "The credit is not that of the rule's equation.\n";
  return report.ok() && right ? 0 : 1;
}
