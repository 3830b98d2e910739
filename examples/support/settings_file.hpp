// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

/// A program's flags in a TOML file: --config reads one, --dump-config writes one.
namespace support {

/// Adds --config FILE and --dump-config. A key of the file is a flag without its dashes in front, with - or _ between
/// words; what the command line says wins. A file that is no TOML, a key that is no flag or stands there twice, and a
/// value of another kind end parsing with CLI::ConfigError, which names file and line.
void add_settings_file_flags(CLI::App& app);

/// Whether --dump-config was given.
bool wants_settings(const CLI::App& app);

/// Each flag with its value, after parsing: from the command line, the file, or the default. Flags that are empty by
/// default are left out.
nlohmann::ordered_json settings_of(const CLI::App& app);

/// The same as TOML, for --config.
std::string toml_of(const nlohmann::ordered_json& settings);

}  // namespace support
