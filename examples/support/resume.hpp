// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "support/flags.hpp"

/// How a second run goes on with the results of an earlier one: what is finished is kept, the rest is made, and results
/// of other settings are never mixed or overwritten unasked.
namespace support {

/// --retrain, the same in every program that keeps results.
void add_retrain_flag(Flags& flags, bool& retrain);

/// What a run may change and still add to an earlier run's results.
struct Resume {
  std::set<std::string> lists = {};  ///< settings that may name others than before: the file keeps those of both runs
  std::set<std::string> free = {"gpu", "output_dir"};  ///< settings that may be others
  bool retrain = false;                                ///< begin a new file
};

/// A results file, this run's alone while the object lives: two that add to one file would each undo what the other
/// does. Of several processes of one run the first has the file, and all read it. A hidden file beside it, `.NAME.lock`,
/// says so to others; a program that is killed leaves it, and it is free.
class ResultsFile {
 public:
  /// Creates its folder where missing. Throws Error where that cannot be written to, and where another run has the
  /// file; on a file system without locks nothing is kept apart.
  explicit ResultsFile(std::filesystem::path path);
  ~ResultsFile();
  ResultsFile(const ResultsFile&) = delete;
  ResultsFile& operator=(const ResultsFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Replaces what it holds, whole or not at all. The flags of this run go into "environment".
  void write(nlohmann::ordered_json results) const;

 private:
  std::filesystem::path path_, lock_path_;
  int lock_ = -1;  ///< a file descriptor
};

/// The results in `file` that this run adds to, without "config" and "environment": an empty object where
/// there is no file, or with `retrain`. The lists of `config` become those of both runs, since the file is to say all
/// that is in it.
///
/// Throws Error, before anything has happened, where another setting differs, saying which and what to do.
nlohmann::ordered_json earlier_results(const ResultsFile& file, nlohmann::ordered_json& config, const Resume& resume);

/// The settings that must be the same in every run on one results file: those that are neither lists nor free.
nlohmann::ordered_json fixed_settings(nlohmann::ordered_json config, const Resume& resume);

/// The first key whose value differs between two configurations, as "epochs is 20 there, 100 here"; empty where none
/// does.
std::string first_difference(const nlohmann::ordered_json& there, const nlohmann::ordered_json& here);

/// Says that `what` is not made again.
void say_kept(const std::string& what);

}  // namespace support
