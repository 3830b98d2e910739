#include "support/resume.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <creditlib/error.hpp>
#include <creditlib/io/json_file.hpp>

namespace support {

using Json = nlohmann::ordered_json;

std::string first_difference(const Json& there, const Json& here, const std::set<std::string>& free) {
  const auto text = [](const Json& object, const std::string& key) {
    return object.contains(key) ? object[key].dump() : std::string("left out");
  };
  const auto differs = [&](const std::string& key) {
    if (free.count(key)) return std::string();
    const bool same = there.contains(key) && here.contains(key) && there[key] == here[key];
    return same ? std::string() : fmt::format("{} is {} there, {} here", key, text(there, key), text(here, key));
  };
  if (!there.is_object()) return "it says no settings";
  for (const auto* object : {&here, &there}) {
    for (const auto& entry : object->items()) {
      if (auto difference = differs(entry.key()); !difference.empty()) return difference;
    }
  }
  return {};
}

Json earlier_results(const std::filesystem::path& path, const Json& config, const std::set<std::string>& free) {
  if (!std::filesystem::exists(path)) return nullptr;
  auto file = creditlib::io::read_json(path);
  const Json found = file.is_object() && file.contains("config") ? file["config"] : Json(nullptr);
  const auto difference = first_difference(found, config, free);
  if (!difference.empty()) {
    throw creditlib::Error(
        fmt::format("{} holds results of other settings ({}): use another --output_dir, or --retrain to replace them.",
                    path.string(), difference));
  }
  return file;
}

void keep_listed(Json& config, const Json& earlier, const std::set<std::string>& keys) {
  if (!earlier.is_object()) return;
  for (const auto& key : keys) {
    auto& list = config[key];
    for (const auto& entry : earlier["config"][key]) {
      if (std::find(list.begin(), list.end(), entry) == list.end()) list.push_back(entry);
    }
  }
}

}  // namespace support
