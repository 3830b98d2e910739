// SPDX-License-Identifier: Apache-2.0
#include "regression/table.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <cmath>
#include <creditlib/data/csv.hpp>
#include <creditlib/error.hpp>
#include <string_view>

#include "support/checksum.hpp"

namespace regression {

Score score(const Split& split, const torch::Tensor& predicted) {
  const auto& y = split.test_target;
  const auto squares = (split.unit.inverse(predicted.to(torch::kFloat64)) - y).square().mean().item<double>();
  const auto spread = (y - y.mean()).square().mean().item<double>();
  return {.rmse = std::sqrt(squares), .r2 = 1 - squares / spread};
}

Table::Table(const std::filesystem::path& path, const std::string& target) {
  const auto table = creditlib::data::read_csv(path);
  if (table.columns.size() < 2) {
    throw creditlib::Error(fmt::format(
        "{} has one column, expected the target and at least one column to predict it from.", path.string()));
  }
  target_ = target.empty() ? table.columns.back() : target;
  inputs_ = table.without({target_});
  targets_ = table.only({target_}).values;
  const auto* bytes = static_cast<const char*>(table.values.const_data_ptr());
  checksum_ = support::checksum(std::string_view(bytes, table.values.nbytes()));
}

Split Table::split(double test_part, std::int64_t seed) const {
  const auto tested = static_cast<std::int64_t>(std::llround(static_cast<double>(rows()) * test_part));
  if (tested < 2 || rows() - tested < 2) {
    throw creditlib::Error(
        fmt::format("--test-part {} leaves {} rows to train with and {} to test with, expected at least two of each: "
                    "use another part, or a longer table.",
                    test_part, rows() - tested, tested));
  }
  auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<std::uint64_t>(seed));
  const auto order = torch::randperm(rows(), generator, torch::kInt64);
  const auto train = order.slice(0, tested), test = order.slice(0, 0, tested);
  const creditlib::data::Standardize inputs(inputs_.values.index_select(0, train));
  const creditlib::data::Standardize unit(targets_.index_select(0, train));
  const auto part = [&](const torch::Tensor& picked) {
    return creditlib::data::Tensors{.inputs = inputs(inputs_.values.index_select(0, picked)).to(torch::kFloat32),
                                    .targets = unit(targets_.index_select(0, picked)).to(torch::kFloat32)};
  };
  const auto test_target = targets_.index_select(0, test);
  if (test_target.min().equal(test_target.max())) {
    throw creditlib::Error(
        fmt::format("\"{}\" is {} in all {} rows to test with: R2 is not defined; use a larger --test-part.", target_,
                    test_target[0].item<double>(), tested));
  }
  return {.train = part(train), .test = part(test), .unit = unit, .test_target = test_target};
}

}  // namespace regression
