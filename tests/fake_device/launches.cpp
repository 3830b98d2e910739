// SPDX-License-Identifier: Apache-2.0
#include <torch/version.h>

#include <creditlib/any_trainer.hpp>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/model/vit_mini.hpp>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../../examples/registry/rules.hpp"
#include "../generated_page.hpp"
#include "../test.hpp"
#include "any_model.hpp"
#include "fake_device.hpp"

using namespace creditlib;
using namespace creditlib::test;

// The launches of a step, rule by rule: docs/performance/launches.md is the budget.
namespace {

/// Of a rule that the registry trains after a warm-up, the rule itself.
template <class Credit>
Credit without_warmup(const Credit& credit) {
  return credit;
}
template <class First, class Second>
Second without_warmup(const Mix<First, Second>& mix) {
  return mix.second;
}

template <class Rule>
AnyTrainer trainer_of(const Rule& rule, const AnyModel& model, const TrainerOptions& options, std::int64_t batch) {
  const auto parts = rule.make(registry::RuleSettings{.batch_size = batch});
  if constexpr (std::is_same_v<decltype(parts), const registry::Backprop>) {
    return BackpropTrainer(model, options);
  } else {
    return LocalTrainer(model, without_warmup(parts.credit), options, Always{}, parts.normalizer);
  }
}

/// A column of the table.
struct Column {
  std::string name;
  std::function<AnyModel()> make;
  std::vector<std::int64_t> input;
  Path path;
};
const std::vector<Column>& columns() {
  const auto residual_mlp = [] {
    return any_model(ResidualMLP({.input = 768, .width = 256, .classes = 10, .blocks = 4}));
  };
  static const std::vector<Column> all{
      {"ResidualMLP by formula", residual_mlp, {128, 768}, Path::ClosedForm},
      {"ResidualMLP by autograd", residual_mlp, {128, 768}, Path::Generic},
      {"SmallCNN", [] { return any_model(SmallCNN({.image = 8})); }, {8, 3, 8, 8}, Path::Generic},
      {"ViTMini",
       [] { return any_model(ViTMini({.width = 32, .blocks = 4, .image = 8})); },
       {8, 3, 8, 8},
       Path::Generic}};
  return all;
}

struct Cell {
  int launches = 0, waits = 0;
  std::map<std::string, int> by_operator = {};
  std::string refusal = {};
};

/// What a step does that is not the first.
template <class Rule>
Cell measured(const Rule& rule, const Column& column) {
  torch::manual_seed(1);
  const auto model = column.make();
  const auto x = torch::randn(column.input).to(fake_device::device());
  const auto y = torch::randint(10, {column.input[0]}, torch::kInt64).to(fake_device::device());
  model->to(fake_device::device());
  try {
    auto trainer = trainer_of(rule, model, {.path = column.path}, column.input[0]);
    trainer.step(x, y);
    trainer.step(x, y);
    fake_device::clear();
    trainer.step(x, y);
  } catch (const Error& error) {
    return {.refusal = error.what()};
  }
  const auto log = fake_device::log();
  return {log.total(), static_cast<int>(log.host_reads.size()), log.launches};
}

using Table = std::map<std::string, std::vector<std::string>>;  // a row for each rule

std::string text_of(const Cell& cell) {
  if (!cell.refusal.empty()) return "-";
  return std::to_string(cell.launches) + (cell.waits > 0 ? ", " + std::to_string(cell.waits) + " waits" : "");
}

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream in(line.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) cells.push_back(cell.substr(1, cell.size() - 2));
  return cells;
}

}  // namespace

TEST_CASE("a step has no more launches than docs/performance/launches.md says", "[fake_device]") {
  const std::string begin = "<!-- launches -->\n\n", end = "\n<!-- end of launches -->";
  GeneratedPage page("performance/launches.md");

  std::string head = "| rule |", rule_line = "|---|";
  for (const auto& column : columns()) {
    head += " " + column.name + " |";
    rule_line += "---|";
  }
  std::string table = head + "\n" + rule_line + "\n";
  std::map<std::string, std::vector<Cell>> measured_cells;
  const auto add = [&](const auto& rule) {
    table += std::string("| `") + rule.name + "` |";
    for (const auto& column : columns()) {
      measured_cells[rule.name].push_back(measured(rule, column));
      table += " " + text_of(measured_cells[rule.name].back()) + " |";
    }
    table += "\n";
  };
  std::apply([&](const auto&... rule) { (add(rule), ...); }, registry::rules);
  if (const auto* details = std::getenv("CREDITLIB_LAUNCHES_BY_OPERATOR")) {
    std::ofstream out(details);
    for (const auto& [rule, cells] : measured_cells) {
      for (std::size_t i = 0; i < cells.size(); ++i)
        out << rule << " on " << columns()[i].name << ": " << text_of(cells[i]) << ": "
            << fake_device::text_of(cells[i].by_operator) << cells[i].refusal << "\n";
    }
  }
  page.offer(begin, end, table);

  const std::string made_with =
      "LibTorch " + std::to_string(TORCH_VERSION_MAJOR) + "." + std::to_string(TORCH_VERSION_MINOR);
  if (page.text().find(made_with) == std::string::npos) {
    WARN("The table was not made with " << made_with << ", whose operators may launch another number of kernels.");
    return;
  }
  INFO("CREDITLIB_WRITE_DOCS=1 writes the table; CREDITLIB_LAUNCHES_BY_OPERATOR=FILE says what is launched");
  std::istringstream written(page.part(begin, end));
  std::map<std::string, std::vector<std::string>> budget;
  for (std::string line; std::getline(written, line);) {
    if (line.size() < 3 || line[2] != '`') continue;
    auto cells = cells_of(line);
    const auto name = cells.front().substr(1, cells.front().size() - 2);
    cells.erase(cells.begin());
    budget[name] = cells;
  }
  CHECK(budget.size() == measured_cells.size());
  CHECK(measured_cells["dfa"][0].launches <= 70);
  CHECK(measured_cells["bp"][0].launches <= 90);
  for (const auto& [rule, cells] : measured_cells) {
    REQUIRE(budget[rule].size() == cells.size());
    for (std::size_t i = 0; i < cells.size(); ++i) {
      INFO(rule << " on " << columns()[i].name << ": " << fake_device::text_of(cells[i].by_operator)
                << cells[i].refusal);
      CHECK(text_of(cells[i]) == budget[rule][i]);
    }
    if (cells[0].refusal.empty()) CHECK(cells[0].launches <= cells[1].launches);  // Path::Auto takes formulas
  }
}
