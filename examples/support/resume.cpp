#include "support/resume.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <creditlib/error.hpp>
#include <creditlib/io/json_file.hpp>

namespace support {

using Json = nlohmann::ordered_json;

void add_retrain_flag(CLI::App& app, bool& retrain) {
  app.add_flag("--retrain", retrain,
               "replace the results of an earlier run instead of going on with them (without it what is finished is "
               "kept)");
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

Json earlier_results(const std::filesystem::path& path, Json& config, const Resume& resume) {
  if (resume.retrain || !std::filesystem::exists(path)) return Json::object();
  auto file = creditlib::io::read_json(path);
  const Json found = file.is_object() && file.contains("config") ? file["config"] : Json(nullptr);
  const auto difference = first_difference(fixed_settings(found, resume), fixed_settings(config, resume));
  if (!difference.empty()) {
    throw creditlib::Error(
        fmt::format("{} holds results of other settings ({}): use another --output_dir, or --retrain to replace them.",
                    path.string(), difference));
  }
  for (const auto& key : resume.lists) {
    if (!found.contains(key)) continue;
    auto& list = config[key];
    for (const auto& entry : found[key]) {
      if (std::find(list.begin(), list.end(), entry) == list.end()) list.push_back(entry);
    }
  }
  file.erase("config");
  file.erase("environment");
  return file;
}

void say_kept(const std::string& what) { fmt::print("{}: finished before, kept (--retrain makes it anew)\n", what); }

}  // namespace support
