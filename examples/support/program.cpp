#include "support/program.hpp"

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <creditlib/runtime/denormals.hpp>
#include <creditlib/runtime/memory.hpp>
#include <csignal>
#include <cstdio>

namespace support {
namespace {

std::atomic<bool> stop{false};

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

}  // namespace

bool interrupted() { return stop; }

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
    std::int64_t value = 0;
    const bool fits = CLI::detail::lexical_cast(text, value) && value >= least;
    return fits ? std::string() : text + " is not " + expected;
  };
  return CLI::Validator(check, expected);
}

std::int64_t in_proportion(std::int64_t of_100, std::int64_t epochs) {
  return std::max<std::int64_t>(1, epochs * of_100 / 100);
}

int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& body) {
  const auto complain = [&](const char* what) { std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), what); };
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    complain(error.what());
    std::fprintf(stderr, "%s --help lists the flags.\n", app.get_name().c_str());
    return 2;
  }
  creditlib::process::keep_freed_memory();
  creditlib::process::flush_denormals();
  std::signal(SIGINT, ask_to_stop);
  std::signal(SIGTERM, ask_to_stop);
  try {
    body();
    return 0;
  } catch (const Interrupted&) {
    complain("stopped; the results so far are written.");
    return 130;
  } catch (const UsageError& error) {
    complain(error.what());
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
