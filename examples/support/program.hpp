// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/processes.hpp"

/// What every program of examples/ has in common: flags, exit codes, Ctrl-C.
namespace support {

/// Flags that fit together with nothing: exit code 2, like a flag that does not exist.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Thrown at the end of a step after Ctrl-C or SIGTERM; its words say what was kept and how to go on.
class Interrupted : public std::runtime_error {
 public:
  explicit Interrupted(const std::string& kept = "the results so far are written, and the same command makes the rest")
      : std::runtime_error(kept) {}
};

/// Whether Ctrl-C was pressed (or SIGTERM came) since the program started, in one process of this run at least: all ask
/// it at the same step, and get the same answer.
bool interrupted();

/// "--penalty_lam,--penalty-lam": a flag in the reference scripts' spelling and with dashes.
std::string flag(const std::string& name);

/// Checks of a flag's number: finite, and > 0 or >= 0.
CLI::Validator positive();
CLI::Validator not_negative();
/// The same of a whole number, >= least.
CLI::Validator whole(std::int64_t least);

/// Throws UsageError where a flag's list names something twice.
template <class Value>
void check_distinct(const std::string& flag, const std::vector<Value>& list) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (list[i] != list[j]) continue;
      std::ostringstream text;
      text << flag << " names " << list[i] << " twice";
      throw UsageError(text.str());
    }
  }
}

/// The epoch of `epochs` that stands where epoch `of_100` does among 100, at least 1: published schedules in a shorter
/// run.
std::int64_t in_proportion(std::int64_t of_100, std::int64_t epochs);

/// The flags that this run has, from the command line, --config or as defaults: {"epochs": 20, ...}.
const nlohmann::ordered_json& settings();

/// Parses the flags, those of a --config file too, and runs `body`, or prints them after --dump-config. Flags of whole
/// numbers take decimal digits alone: 042 is 42, 0x2a is refused. Exit codes: 0, 1 after an Error, 2 for wrong flags, 130
/// after Ctrl-C. A program for several processes has --distributed too, and group() is those that it or torchrun has
/// started; one for a single process refuses to run in several.
int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& body,
                Processes processes = Processes::One);

}  // namespace support
