// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "support/live_line.hpp"
#include "support/program.hpp"

namespace support {

/// What is not the same for every flag.
struct FlagHow {
  bool required = false;
  bool shows_default = true;  ///< in --help; an empty default is never shown
  bool in_config = true;
};

/// A program's flags and its results' config from one declaration: a function that calls, for each flag in the order of
/// the config,
///
///     flags.add("lr", s.lr, "AdamW's learning rate", {not_negative()});
///
/// which is both --lr, with its help and check, and the key "lr" of the config. The variable's value is the default.
/// run_with_flags and config_of run that function.
class Flags {
 public:
  using How = FlagHow;
  static constexpr How apart{.in_config = false};

  explicit Flags(CLI::App& app) : app_(&app) {}
  explicit Flags(nlohmann::ordered_json& config) : config_(&config) {}

  /// --name, also with dashes for underscores: a switch for bool, one or more values for a vector, otherwise one value.
  template <class Value>
  void add(const std::string& name, Value& value, const std::string& help,
           std::initializer_list<CLI::Validator> checks = {}, How how = {}) {
    if (how.in_config) record(name, value);
    if (app_ == nullptr) return;
    if constexpr (std::is_same_v<Value, bool>) {
      app_->add_flag(flag(name), value, help);
    } else {
      auto* option = app_->add_option(flag(name), value, help)->required(how.required);
      if constexpr (requires { value.emplace_back(); }) option->expected(1, -1);  // a vector
      for (const auto& check : checks) option->check(check);
      if (how.shows_default && !empty(value)) option->capture_default_str();
    }
  }
  template <class Value>
  void add(const std::string& name, Value& value, const std::string& help, How how) {
    add(name, value, help, {}, how);
  }

  /// A number of at least `least`; one of some names.
  void count(const std::string& name, std::int64_t& value, std::int64_t least, const std::string& help) {
    add(name, value, help, {whole(least)});
  }
  void number(const std::string& name, double& value, const std::string& help) {
    add(name, value, help, {not_negative()});
  }
  template <class Value>
  void choice(const std::string& name, Value& value, const std::vector<std::string>& names, const std::string& help,
              How how = {}) {
    add(name, value, help, {CLI::IsMember(names)}, how);
  }

  /// A key of the config that is no flag of this declaration.
  template <class Value>
  void record(const std::string& key, const Value& value) {
    if (config_ != nullptr) (*config_)[key] = json(value);
  }

 private:
  template <class Value>
  static bool empty(const Value& value) {
    if constexpr (requires { value.empty(); }) {
      return value.empty();
    } else if constexpr (requires { value.has_value(); }) {
      return !value.has_value();
    } else {
      return false;
    }
  }
  template <class Value>
  static nlohmann::ordered_json json(const Value& value) {
    return value;
  }
  template <class Value>
  static nlohmann::ordered_json json(const std::optional<Value>& value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
  }

  CLI::App* app_ = nullptr;
  nlohmann::ordered_json* config_ = nullptr;
};

/// The config of settings whose flags `declare(flags, settings)` declares.
template <class Settings>
nlohmann::ordered_json config_of(Settings settings, void (*declare)(Flags&, Settings&)) {
  auto config = nlohmann::ordered_json::object();
  Flags flags(config);
  declare(flags, settings);
  return config;
}

/// The main of a program for several processes: its flags, then `run(settings)`, as run_program has it.
template <class Settings>
int run_with_flags(const std::string& about, const std::string& program, int argc, char** argv,
                   void (*declare)(Flags&, Settings&), void (*run)(Settings)) {
  CLI::App app(about, program);
  Settings settings;
  Flags flags(app);
  declare(flags, settings);
  std::string log_format = "text";
  flags.choice("log_format", log_format, {"text", "json"},
               "text, or json: an object per epoch and line on standard output, all else on standard error",
               Flags::apart);
  const auto body = [&] {
    if (log_format == "json") log_as_json();
    run(settings);
  };
  return run_program(app, argc, argv, body, Processes::Several);
}

}  // namespace support
