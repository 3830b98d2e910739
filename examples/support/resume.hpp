#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

namespace support {

/// The first key whose value differs between two configurations, as "epochs is 20 there, 100 here"; empty where none
/// does. Keys in `free` may differ.
std::string first_difference(const nlohmann::ordered_json& there, const nlohmann::ordered_json& here,
                             const std::set<std::string>& free = {});

/// What an earlier run left in the results file `path`: null where there is no file. Throws Error where its "config"
/// differs from this one, in another key than those in `free`, saying which and what to do.
nlohmann::ordered_json earlier_results(const std::filesystem::path& path, const nlohmann::ordered_json& config,
                                       const std::set<std::string>& free);

/// Adds to the lists `keys` of `config` what the earlier file's lists have beside: its results are kept too.
void keep_listed(nlohmann::ordered_json& config, const nlohmann::ordered_json& earlier,
                 const std::set<std::string>& keys);

}  // namespace support
