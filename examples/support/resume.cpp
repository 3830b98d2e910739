// SPDX-License-Identifier: Apache-2.0
#include "support/resume.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <creditlib/error.hpp>
#include <creditlib/io/atomic_file.hpp>
#include <creditlib/io/json_file.hpp>
#include <system_error>
#include <utility>

#include "support/program.hpp"

namespace support {

using Json = nlohmann::ordered_json;

namespace {

/// Whether `path` still names the open file: who had it before may have removed it in between.
bool names(const std::filesystem::path& path, int file) {
  struct stat here = {}, there = {};
  return ::fstat(file, &here) == 0 && ::stat(path.c_str(), &there) == 0 && here.st_dev == there.st_dev &&
         here.st_ino == there.st_ino;
}

}  // namespace

ResultsFile::ResultsFile(std::filesystem::path path)
    : path_(std::move(path)), lock_path_(path_.parent_path() / ("." + path_.filename().string() + ".lock")) {
  if (!leads()) return;
  creditlib::io::check_writable_folder(path_.parent_path());
  for (;;) {
    lock_ = ::open(lock_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock_ < 0) {
      throw creditlib::Error(fmt::format("{} cannot be opened ({}): make it writable, or use another --output_dir.",
                                         lock_path_.string(), std::generic_category().message(errno)));
    }
    const bool taken = ::flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (!taken && names(lock_path_, lock_)) return;
    ::close(lock_);
    if (taken) {
      throw creditlib::Error(fmt::format(
          "another run is writing {}: wait until it has ended, or use another --output_dir.", path_.string()));
    }
  }
}

ResultsFile::~ResultsFile() {
  if (lock_ < 0) return;
  ::unlink(lock_path_.c_str());
  ::close(lock_);
}

void ResultsFile::write(Json results) const {
  if (!leads()) return;
  results["environment"]["flags"] = settings();
  creditlib::io::write_json(path_, results);
}

void add_retrain_flag(Flags& flags, bool& retrain) {
  flags.add("retrain", retrain,
            "replace the results of an earlier run instead of going on with them (without it what is finished is "
            "kept)",
            Flags::apart);
}

std::string first_difference(const Json& there, const Json& here) {
  if (!there.is_object()) return "it says no settings";
  const auto text = [](const Json& object, const std::string& key) {
    return object.contains(key) ? object[key].dump() : std::string("left out");
  };
  for (const auto* object : {&here, &there}) {
    for (const auto& entry : object->items()) {
      const auto& key = entry.key();
      if (there.contains(key) && here.contains(key) && there[key] == here[key]) continue;
      return fmt::format("{} is {} there, {} here", key, text(there, key), text(here, key));
    }
  }
  return {};
}

Json fixed_settings(Json config, const Resume& resume) {
  if (!config.is_object()) return config;
  for (const auto* keys : {&resume.lists, &resume.free}) {
    for (const auto& key : *keys) config.erase(key);
  }
  return config;
}

Json earlier_results(const ResultsFile& file, Json& config, const Resume& resume) {
  if (resume.retrain || !std::filesystem::exists(file.path())) return Json::object();
  auto results = creditlib::io::read_json(file.path());
  const Json found = results.is_object() && results.contains("config") ? results["config"] : Json(nullptr);
  const auto difference = first_difference(fixed_settings(found, resume), fixed_settings(config, resume));
  if (!difference.empty()) {
    throw creditlib::Error(
        fmt::format("{} holds results of other settings ({}): use another --output_dir, or --retrain to replace them.",
                    file.path().string(), difference));
  }
  for (const auto& key : resume.lists) {
    if (!found.contains(key)) continue;
    auto& list = config[key];
    for (const auto& entry : found[key]) {
      if (std::find(list.begin(), list.end(), entry) == list.end()) list.push_back(entry);
    }
  }
  results.erase("config");
  results.erase("environment");
  return results;
}

void say_kept(const std::string& what) { fmt::print("{}: finished before, kept (--retrain makes it anew)\n", what); }

}  // namespace support
