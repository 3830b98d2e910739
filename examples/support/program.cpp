// SPDX-License-Identifier: Apache-2.0
#include "support/program.hpp"

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <creditlib/runtime/denormals.hpp>
#include <creditlib/runtime/memory.hpp>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <system_error>

#include "support/help.hpp"
#include "support/settings_file.hpp"

namespace support {
namespace {

std::atomic<bool> stop{false};
nlohmann::ordered_json resolved = nlohmann::ordered_json::object();

void ask_to_stop(int signal) {
  stop = true;
  std::signal(signal, SIG_DFL);  // a second Ctrl-C ends the program at once
}

/// A flag whose number must be finite and pass `sound`.
CLI::Validator number(const char* expected, bool (*sound)(double)) {
  const auto check = [expected, sound](std::string& text) {
    double value = 0;
    const bool fits = CLI::detail::lexical_cast(text, value) && std::isfinite(value) && sound(value);
    return fits ? std::string() : text + " is not a number " + expected;
  };
  return CLI::Validator(check, std::string("FLOAT ") + expected);
}

/// The whole number that `text` is in decimal digits, with or without a sign and leading zeros.
std::optional<std::int64_t> decimal(const std::string& text) {
  const char* begin = text.data();
  const char* const end = begin + text.size();
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') ++begin;
  std::int64_t value = 0;
  const auto [stopped, error] = std::from_chars(begin, end, value, 10);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return value;
}

/// CLI11 reads 042 as octal, 34, and 0x2a as 42. Here every flag of whole numbers takes decimal digits alone, and
/// leading zeros mean nothing.
void read_whole_numbers_as_decimal(CLI::App& app) {
  const auto check = [](std::string& text) {
    const auto value = decimal(text);
    if (!value) return text + " is not a whole number (in decimal digits, within 64 bits)";
    text = std::to_string(*value);
    return std::string();
  };
  for (auto* option : app.get_options()) {
    const auto type = option->get_type_name();  // "INT:a whole number >= 1"
    if (type.starts_with("INT") || type.starts_with("UINT")) option->transform(CLI::Validator(check, ""));
  }
}

}  // namespace

bool interrupted() {
  if (group()->size() == 1) return stop;
  const auto asked = torch::full({}, stop ? 1 : 0, torch::kInt64);
  group()->sum({asked});
  return asked.item<std::int64_t>() > 0;
}

const nlohmann::ordered_json& settings() { return resolved; }

std::string flag(const std::string& name) {
  std::string dashed = name;
  for (char& c : dashed) c = c == '_' ? '-' : c;
  return dashed == name ? "--" + name : "--" + name + ",--" + dashed;
}

CLI::Validator positive() {
  return number("> 0", [](double value) { return value > 0; });
}
CLI::Validator not_negative() {
  return number(">= 0", [](double value) { return value >= 0; });
}

CLI::Validator whole(std::int64_t least) {
  const auto expected = "a whole number >= " + std::to_string(least);
  const auto check = [expected, least](std::string& text) {
    const auto value = decimal(text);
    return value && *value >= least ? std::string() : text + " is not " + expected;
  };
  return CLI::Validator(check, expected);
}

std::int64_t in_proportion(std::int64_t of_100, std::int64_t epochs) {
  return std::max<std::int64_t>(1, epochs * of_100 / 100);
}

int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& body, Processes processes) {
  const auto complain = [&](const char* what) {
    const auto where = leads() ? std::string() : " (rank " + std::to_string(rank()) + ")";
    std::fprintf(stderr, "%s%s: %s\n", app.get_name().c_str(), where.c_str(), what);
  };
  std::int64_t distributed = 1;
  if (processes == Processes::Several) {
    app.add_option("--distributed", distributed,
                   "train in this many processes on this machine; on several machines use torchrun")
        ->check(whole(1))
        ->capture_default_str();
  }
  add_settings_file_flags(app);
  read_whole_numbers_as_decimal(app);
  app.formatter(std::make_shared<Help>());
  try {
    app.parse(argc, argv);
    resolved = settings_of(app);
    if (wants_settings(app)) {
      if (leads()) std::fputs(toml_of(resolved).c_str(), stdout);
      return 0;
    }
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return leads() ? app.exit(error) : 0;  // --help
    if (!leads_here()) return 2;
    complain(error.what());
    std::fprintf(stderr, "%s --help lists the flags.\n", app.get_name().c_str());
    return 2;
  }
  creditlib::runtime::keep_freed_memory();
  creditlib::runtime::flush_denormals();
  try {
    check_distributed(distributed);
    if (is_starter(distributed)) return run_in_processes(distributed, argv);
    std::signal(SIGINT, ask_to_stop);
    std::signal(SIGTERM, ask_to_stop);
    std::optional<JoinedProcesses> joined;
    if (processes == Processes::Several) {
      joined.emplace();
    } else if (started_processes() > 1) {
      throw UsageError("this program trains in one process, and torchrun (or WORLD_SIZE) has started " +
                       std::to_string(started_processes()) + ": start it alone");
    }
    body();
    return 0;
  } catch (const Interrupted& stopped) {  // in all processes
    if (leads()) complain(("stopped; " + std::string(stopped.what()) + ".").c_str());
    return 130;
  } catch (const UsageError& error) {  // in all processes too
    if (leads()) complain(error.what());
    return 2;
  } catch (const c10::Error& error) {
    complain(error.what_without_backtrace());
    return 1;
  } catch (const std::exception& error) {
    complain(error.what());
    return 1;
  }
}

}  // namespace support
