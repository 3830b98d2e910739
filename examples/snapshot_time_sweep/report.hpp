// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

/// What the results say, in text.
namespace sweep {

/// A line for one entry of the results.
void announce(const nlohmann::ordered_json& entry);

/// The script's table, and the one of the last block alone.
void print_tables(const nlohmann::ordered_json& results);

/// The sentences of the script, of the vector net's loss change on the held-out batch after one step.
std::vector<std::string> judgement(const nlohmann::ordered_json& results);

}  // namespace sweep
