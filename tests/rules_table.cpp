// SPDX-License-Identifier: Apache-2.0
#include <creditlib/bind_context.hpp>
#include <creditlib/reads.hpp>
#include <creditlib/statistics/seeded.hpp>
#include <creditlib/trainer/source_traits.hpp>
#include <string>

#include "../examples/registry/rules.hpp"
#include "generated_page.hpp"
#include "models.hpp"
#include "test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// What a rule's state on a network says that it reads; of a Mix both sources together.
template <class Credit>
std::string reads_of(const Credit& credit) {
  using Traits = creditlib::detail::SourceTraits<Credit, ResidualMLP>;
  auto model = residual_mlp();
  const BindContext context{torch::kCPU, torch::kFloat32, statistics::seeded(1, 0)};
  const auto state = [&] {
    if constexpr (Traits::count == 1) {
      return Traits::bind(credit, model, {context});
    } else {
      return Traits::bind(credit, model, {context, context});
    }
  }();
  auto all = Reads::Nothing;
  std::apply([&](const auto&... states) { ((all = all | states.reads()), ...); }, Traits::states(state));
  return text_of(all);
}

/// The table of docs/rules.md.
std::string table_of_rules() {
  std::string table = "| name | | credit is computed from |\n|---|---|---|\n";
  const auto add = [&](const auto& rule) {
    const auto parts = rule.make(registry::RuleSettings{});
    std::string reads = text_of(Reads::Error | Reads::Readout | Reads::Weights);
    if constexpr (requires { parts.credit; }) reads = reads_of(parts.credit);
    table += std::string("| `") + rule.name + "` | " + rule.what + " | " + reads + " |\n";
  };
  std::apply([&](const auto&... rule) { (add(rule), ...); }, registry::rules);
  return table;
}

}  // namespace

TEST_CASE("docs/rules.md has every rule that programs know, and what it reads") {
  const std::string begin = "<!-- rules -->\n\n", end = "\n<!-- end of rules -->";
  GeneratedPage page("rules.md");
  const auto wanted = table_of_rules();
  page.offer(begin, end, wanted);
  INFO("CREDITLIB_WRITE_DOCS=1 writes the table");
  CHECK(page.part(begin, end) == wanted);
}
