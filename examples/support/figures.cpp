// SPDX-License-Identifier: Apache-2.0
#include "support/figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace support {

using creditlib::diagnostics::Measured;
using Json = nlohmann::ordered_json;

Json value(const Measured& measured) { return measured.value ? Json(*measured.value) : Json(nullptr); }

Json values(const std::vector<Measured>& measured) {
  Json list = Json::array();
  for (const auto& one : measured) list.push_back(value(one));
  return list;
}

Json reasons(const std::vector<std::pair<std::string, std::vector<Measured>>>& named) {
  Json all = Json::object();
  for (const auto& [name, measured] : named) {
    for (std::size_t l = 0; l < measured.size(); ++l) {
      if (!measured[l].value) all[name][std::to_string(l)] = measured[l].reason;
    }
  }
  return all;
}

Json mean_of(const std::vector<Measured>& measured) {
  std::vector<double> numbers;
  for (const auto& one : measured) {
    if (one.value) numbers.push_back(*one.value);
  }
  return numbers.empty() ? Json(nullptr) : Json(mean(numbers));
}

std::string shown(const Json& figure) {
  if (figure.is_number()) return fmt::format("{:.4g}", figure.get<double>());
  if (!figure.is_array()) return figure.dump();
  std::string text;
  for (const auto& entry : figure) text += (text.empty() ? "" : ", ") + shown(entry);
  return "[" + text + "]";
}

double mean(const std::vector<double>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0) / static_cast<double>(numbers.size());
}

double median(std::vector<double> numbers) {
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
  std::nth_element(numbers.begin(), middle, numbers.end());
  if (numbers.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(numbers.begin(), middle)) / 2;
}

std::string mean_and_deviation(const std::vector<double>& numbers, int digits) {
  const double average = mean(numbers);
  if (numbers.size() < 2) return fmt::format("{:.{}f}", average, digits);
  double squares = 0;
  for (const double number : numbers) squares += (number - average) * (number - average);
  return fmt::format("{:.{}f} +- {:.{}f}", average, digits,
                     std::sqrt(squares / static_cast<double>(numbers.size() - 1)), digits);
}

std::string mean_by_column(const std::vector<Json>& rows) {
  std::string text;
  if (rows.at(0).empty()) return "-";
  for (std::size_t column = 0; column < rows.at(0).size(); ++column) {
    std::vector<double> numbers;
    for (const auto& row : rows) {
      if (row[column].is_number()) numbers.push_back(row[column].get<double>());
    }
    text += numbers.empty() ? fmt::format("{:>8}", "null") : fmt::format("{:>8.4f}", mean(numbers));
  }
  return text;
}

}  // namespace support
