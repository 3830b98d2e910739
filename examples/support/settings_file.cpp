// SPDX-License-Identifier: Apache-2.0
#include "support/settings_file.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <sstream>
#include <vector>

namespace support {
namespace {

using Json = nlohmann::ordered_json;

/// "batch-size" and "batch_size" are one flag.
std::string key_of(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

bool is_setting(const CLI::Option& option) {
  const auto key = key_of(option.get_single_name());
  return !option.get_lnames().empty() && key != "help" && key != "config" && key != "dump_config";
}

CLI::Option* option_of(CLI::App& app, const std::string& key) {
  for (auto* option : app.get_options()) {
    const auto& names = option->get_lnames();
    const auto is_it = [&](const std::string& name) { return key_of(name) == key_of(key); };
    if (is_setting(*option) && std::any_of(names.begin(), names.end(), is_it)) return option;
  }
  return nullptr;
}

/// How many letters have to be put in, taken out or replaced.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const auto replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

/// " (did you mean epochs?)", or nothing if no flag is near.
std::string nearest(const CLI::App& app, const std::string& key) {
  std::string best;
  std::size_t least = key.size() / 3 + 2;
  for (const auto* option : app.get_options()) {
    if (!is_setting(*option)) continue;
    for (const auto& name : option->get_lnames()) {
      const auto far = distance(key_of(key), key_of(name));
      if (far < least) least = far, best = name;
    }
  }
  return best.empty() ? "" : " (did you mean " + best + "?)";
}

enum class Kind { Switch, Whole, Number, Text };

Kind kind_of(const CLI::Option& option) {
  const auto type = option.get_type_name();  // "INT:a whole number >= 1"
  if (option.get_items_expected_max() == 0) return Kind::Switch;
  if (type.starts_with("INT") || type.starts_with("UINT")) return Kind::Whole;
  return type.starts_with("FLOAT") ? Kind::Number : Kind::Text;
}

bool takes_several(const CLI::Option& option) { return option.get_items_expected_max() > 1; }

std::string as_written(const toml::node& node) {
  if (const auto* word = node.as_string()) return '"' + word->get() + '"';
  std::ostringstream text;
  node.visit([&](const auto& value) { text << value; });
  return text.str();
}

/// A file while it is read into a program's flags.
class Reader {
 public:
  Reader(CLI::App& app, std::string path) : app_(app), path_(std::move(path)) {}

  void read(std::istream& stream) const {
    toml::table table;
    try {
      table = toml::parse(stream, path_);
    } catch (const toml::parse_error& error) {
      throw CLI::ConfigError(
          fmt::format("{}, line {}: {}", path_, error.source().begin.line, std::string(error.description())));
    }
    std::vector<std::pair<std::uint32_t, std::string>> keys;  // in the order of the file
    for (const auto& [key, value] : table) keys.emplace_back(key.source().begin.line, std::string(key.str()));
    std::sort(keys.begin(), keys.end());
    std::vector<std::pair<CLI::Option*, std::uint32_t>> seen;
    for (const auto& [line, key] : keys) {
      auto* option = option_of(app_, key);
      if (option == nullptr) {
        if (table[key].is_table()) fail(line, fmt::format("{} is a table; flags stand in none", key));
        fail(line, fmt::format("{} has no flag {}{}", app_.get_name(), key, nearest(app_, key)));
      }
      for (const auto& [earlier, where] : seen) {
        if (earlier == option) fail(line, fmt::format("{} is set in line {} too", key, where));
      }
      seen.emplace_back(option, line);
      auto words = words_of(*table.get(key), *option, key, line);
      if (!option->empty()) continue;  // the command line wins
      try {
        option->add_result(std::move(words));
        option->run_callback();
      } catch (const CLI::ParseError& error) {
        fail(line, error.what());
      }
    }
  }

 private:
  [[noreturn]] void fail(std::uint32_t line, const std::string& words) const {
    throw CLI::ConfigError(fmt::format("{}, line {}: {}", path_, line, words));
  }

  /// The value as words of a command line.
  std::vector<std::string> words_of(const toml::node& node, const CLI::Option& option, const std::string& key,
                                    std::uint32_t line) const {
    const auto* list = node.as_array();
    if (list == nullptr) return {word_of(node, option, key, line)};
    if (!takes_several(option)) fail(line, fmt::format("{} is a list, expected one value", key));
    if (list->empty()) fail(line, fmt::format("{} is an empty list", key));
    std::vector<std::string> words;
    for (const auto& entry : *list) words.push_back(word_of(entry, option, key, line));
    return words;
  }

  std::string word_of(const toml::node& node, const CLI::Option& option, const std::string& key,
                      std::uint32_t line) const {
    const auto kind = kind_of(option);
    if (const auto* flag = node.as_boolean(); flag && kind == Kind::Switch) return flag->get() ? "true" : "false";
    if (const auto* whole = node.as_integer(); whole && kind != Kind::Switch) return std::to_string(whole->get());
    if (const auto* real = node.as_floating_point(); real && kind == Kind::Number)
      return fmt::format("{}", real->get());
    if (const auto* text = node.as_string(); text && kind == Kind::Text) return text->get();
    constexpr const char* wanted[] = {"true or false", "a whole number", "a number", "text"};
    fail(line, fmt::format("{} is {}, expected {}", key, as_written(node), wanted[static_cast<std::size_t>(kind)]));
  }

  CLI::App& app_;
  std::string path_;
};

/// CLI11 asks for a file's content before it looks for required flags.
class Toml : public CLI::Config {
 public:
  explicit Toml(CLI::App& app) : app_(app) {}
  std::string to_config(const CLI::App* app, bool, bool, std::string) const override {
    return toml_of(settings_of(*app));
  }
  std::vector<CLI::ConfigItem> from_config(std::istream& stream) const override {
    Reader(app_, app_.get_config_ptr()->as<std::string>()).read(stream);
    return {};
  }

 private:
  CLI::App& app_;
};

Json typed(const std::string& word, Kind kind) {
  if (kind == Kind::Switch) return word == "true" || word == "1";
  if (kind == Kind::Whole) return std::stoll(word);
  if (kind == Kind::Number) return std::stod(word);
  return word;
}

/// The words of a flag that was not given: "[bp,fa]" is a list's default.
std::vector<std::string> default_words(const CLI::Option& option) {
  auto text = option.get_default_str();
  if (text.empty()) return {};
  if (!takes_several(option)) return {text};
  if (text.front() == '[') text = text.substr(1, text.size() - 2);
  return CLI::detail::split(text, ',');
}

}  // namespace

void add_settings_file_flags(CLI::App& app) {
  app.set_config("--config", "", "read flags from this TOML file; the command line wins")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  app.config_formatter(std::make_shared<Toml>(app));
  const std::string about = "print all flags as TOML, for --config, and do nothing else";
  app.add_flag("--dump-config,--dump_config", about);
}

bool wants_settings(const CLI::App& app) { return app.count("--dump-config") > 0; }

Json settings_of(const CLI::App& app) {
  auto settings = Json::object();
  for (const auto* option : app.get_options()) {
    if (!is_setting(*option)) continue;
    const auto kind = kind_of(*option);
    auto words = option->count() > 0 ? option->results() : default_words(*option);
    if (words.empty() && kind == Kind::Switch) words = {"false"};
    if (words.empty()) continue;
    auto& value = settings[key_of(option->get_lnames().front())];
    if (!takes_several(*option)) {
      value = typed(words.back(), kind);
      continue;
    }
    value = Json::array();
    for (const auto& word : words) value.push_back(typed(word, kind));
  }
  return settings;
}

std::string toml_of(const Json& settings) {
  const auto written = [](const Json& value) {
    std::ostringstream text;
    const auto flags = toml::format_flags::none;
    if (value.is_boolean()) text << (value.get<bool>() ? "true" : "false");
    if (value.is_number_integer()) text << value.get<std::int64_t>();
    if (value.is_number_float()) text << toml::value<double>(value.get<double>());
    if (value.is_string()) {
      const toml::value<std::string> word(value.get<std::string>());
      text << toml::toml_formatter(word, flags);
    }
    return text.str();
  };
  std::string text;
  for (const auto& entry : settings.items()) {
    text += entry.key() + " = ";
    if (entry.value().is_array()) {
      std::string list;
      for (const auto& one : entry.value()) list += (list.empty() ? "" : ", ") + written(one);
      text += "[" + list + "]";
    } else {
      text += written(entry.value());
    }
    text += "\n";
  }
  return text;
}

}  // namespace support
