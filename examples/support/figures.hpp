// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/statistics/measured.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

/// Measured figures as JSON and as text.
namespace support {

/// The number, or null.
nlohmann::ordered_json value(const creditlib::diagnostics::Measured& measured);
nlohmann::ordered_json values(const std::vector<creditlib::diagnostics::Measured>& measured);

/// Why figures are null: {"name": {"2": "reason"}}; empty where none is.
nlohmann::ordered_json reasons(
    const std::vector<std::pair<std::string, std::vector<creditlib::diagnostics::Measured>>>& named);

/// The mean of those that have a value; null where none has.
nlohmann::ordered_json mean_of(const std::vector<creditlib::diagnostics::Measured>& measured);

/// A number to four digits, null, or a list of them, for people.
std::string shown(const nlohmann::ordered_json& figure);

double mean(const std::vector<double>& numbers);
double median(std::vector<double> numbers);

/// "0.6150 +- 0.0040" (sample standard deviation), or the mean alone of a single number.
std::string mean_and_deviation(const std::vector<double>& numbers, int digits);

/// The mean of each column over rows of numbers and nulls, as text: " 0.412  0.006    null".
std::string mean_by_column(const std::vector<nlohmann::ordered_json>& rows);

}  // namespace support
