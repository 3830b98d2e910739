// SPDX-License-Identifier: Apache-2.0
#include "support/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <creditlib/error.hpp>
#include <creditlib/io/json_file.hpp>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "support/checksum.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"

namespace support {
namespace {

using Json = nlohmann::ordered_json;
using Position = Checkpoint::Position;
namespace fs = std::filesystem;

constexpr std::int64_t format = 1;  // of the JSON; a newer one is refused

/// Why a checkpoint cannot be read, though it was written for this run.
class Damaged : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

std::string hex_of(const torch::Tensor& bytes) {
  const auto whole = bytes.contiguous();
  const auto* data = whole.data_ptr<std::uint8_t>();
  std::string text;
  for (std::int64_t i = 0; i < whole.numel(); ++i) text += fmt::format("{:02x}", int{data[i]});
  return text;
}

torch::Tensor bytes_of(const std::string& hex) {
  auto bytes = torch::empty({static_cast<std::int64_t>(hex.size() / 2)}, torch::kUInt8);
  auto* data = bytes.data_ptr<std::uint8_t>();
  for (std::size_t i = 0; i < hex.size() / 2; ++i) {
    const auto digits = hex.data() + 2 * i;
    if (std::from_chars(digits, digits + 2, data[i], 16).ptr != digits + 2) throw Damaged("a generator is no number");
  }
  return bytes;
}

std::string checksum_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw Damaged(file.filename().string() + " is missing");
  return checksum(std::string(std::istreambuf_iterator<char>(stream), {}));
}

/// A checkpoint's two files.
struct Files {
  Position at;
  fs::path tensors, json;
};

std::string name_of(const fs::path& path, Position at) {
  return fmt::format("{}.epoch{}.step{}", path.stem().string(), at.epoch, at.step);
}

Position position_of(const Trainer& trainer, const Checkpoint::State& state) {
  return state.at.value_or(Position{.epoch = trainer.epoch(), .step = trainer.steps()});
}

/// Those of a run, newest first, and what is left of others that were not written to the end.
std::vector<Files> files_of(const fs::path& path) {
  std::vector<Files> found;
  std::error_code none;
  const auto begin = path.stem().string() + ".epoch";
  for (const auto& entry : fs::directory_iterator(path.parent_path().empty() ? "." : path.parent_path(), none)) {
    const auto name = entry.path().stem().string();
    const auto step = name.rfind(".step");
    if (!name.starts_with(begin) || step == std::string::npos || step < begin.size()) continue;
    const auto number = [&](std::size_t from, std::size_t to) {
      std::int64_t value = -1;
      const auto [end, error] = std::from_chars(name.data() + from, name.data() + to, value);
      return error == std::errc() && end == name.data() + to ? value : -1;
    };
    Files files{.at = {.epoch = number(begin.size(), step), .step = number(step + 5, name.size())},
                .tensors = path.parent_path() / (name + ".pt"),
                .json = path.parent_path() / (name + ".json")};
    const auto same = [&](const Files& other) { return other.json == files.json; };
    if (files.at.epoch >= 0 && files.at.step >= 0 && std::none_of(found.begin(), found.end(), same))
      found.push_back(files);
  }
  std::sort(found.begin(), found.end(), [](const Files& a, const Files& b) { return a.at > b.at; });
  return found;
}

void remove(const Files& files) {
  std::error_code ignored;
  fs::remove(files.json, ignored);
  fs::remove(files.tensors, ignored);
}

/// Everything but the trainer's state. Throws Damaged, and Error where the run cannot go on with it.
Json checked(const Files& files, const CheckpointPlan& plan) {
  Json content;
  try {
    content = creditlib::io::read_json(files.json);
  } catch (const creditlib::Error& error) {
    throw Damaged(error.what());
  }
  if (!content.is_object() || !content.contains("format") || !content["format"].is_number_integer())
    throw Damaged(files.json.filename().string() + " has no format");
  if (const auto its = content["format"].get<std::int64_t>(); its > format) {
    throw creditlib::Error(fmt::format(
        "{} has format {}, and this program reads formats up to {}: go on with the newer program that wrote "
        "it, or train from the start with --retrain.",
        files.json.string(), its, format));
  }
  const auto difference = first_difference(content.value("settings", Json()), plan.settings);
  if (!difference.empty()) {
    throw creditlib::Error(
        fmt::format("{} is a checkpoint of other settings ({}): use another --output_dir, or --retrain to replace it.",
                    files.json.string(), difference));
  }
  if (checksum_of(files.tensors) != content.at("checksum").get<std::string>())
    throw Damaged(files.tensors.filename().string() + " has another checksum than when it was written");
  return content;
}

Checkpoint::State read(Trainer& trainer, const Files& files, const CheckpointPlan& plan) {
  try {
    const auto content = checked(files, plan);
    Checkpoint::State state{.progress = content.at("progress"), .in_epoch = content.at("in_epoch"), .at = files.at};
    for (const auto& entry : content.at("generators").items())
      state.generators.emplace_back(entry.key(), bytes_of(entry.value().get<std::string>()));
    const Json record = plan.record ? content.at("record") : Json();
    try {
      trainer.load(files.tensors);
    } catch (const creditlib::Error& error) {
      throw creditlib::Error(fmt::format("{} Train from the start with --retrain.", error.what()));
    }
    if (plan.record) *plan.record = record;
    return state;
  } catch (const Json::exception& error) {
    throw Damaged(fmt::format("{}: {}", files.json.filename().string(), error.what()));
  }
}

void say(const std::string& sentence) {
  if (leads()) fmt::print(stderr, "{}\n", sentence);
}

}  // namespace

void add_checkpoint_flags(Flags& flags, CheckpointFlags& checkpoints) {
  flags.add(
      "checkpoint_every", checkpoints.every,
      "epochs between two checkpoints (0: one after each, but for a twentieth of the time at most); a run that is "
      "stopped writes one in any case",
      {whole(0)}, Flags::apart);
  flags.add("keep_checkpoints", checkpoints.keep, "how many checkpoints are kept, the newest", {whole(1)},
            Flags::apart);
}

std::optional<Checkpoint::State> Checkpoint::load(Trainer& trainer) {
  if (plan_.path.empty()) return std::nullopt;
  if (plan_.retrain) {
    remove();
    group()->barrier();
  }
  std::string damaged;
  for (const auto& files : files_of(plan_.path)) {
    if (!fs::exists(files.json)) continue;
    try {
      auto state = read(trainer, files, plan_);
      written_ = name_of(plan_.path, files.at);
      if (!damaged.empty()) say(fmt::format("{} The one before it is used, {}.", damaged, files.json.string()));
      return state;
    } catch (const Damaged& error) {
      if (!damaged.empty()) say(damaged);
      damaged = fmt::format("Checkpoint {} is damaged: {}.", files.json.string(), error.what());
    }
  }
  if (damaged.empty()) return std::nullopt;
  throw creditlib::Error(damaged + " There is none before it: train from the start with --retrain.");
}

void Checkpoint::save(const Trainer& trainer, const State& state) {
  const auto start = Clock::now();
  if (plan_.path.empty() || !leads()) return;
  const auto at = position_of(trainer, state);
  if (plan_.flags.every > 0 ? at.epoch % plan_.flags.every != 0 : start - saved_ < 20 * cost_) return;
  write(trainer, state, at);
  saved_ = Clock::now();
  cost_ = saved_ - start;
}

void Checkpoint::stop(const Trainer& trainer, const State& state) {
  if (plan_.path.empty() || !leads()) throw Interrupted();
  const auto at = position_of(trainer, state);
  write(trainer, state, at);
  throw Interrupted(fmt::format("the same command goes on after step {}, from {}", at.step,
                                (plan_.path.parent_path() / (written_ + ".pt")).string()));
}

void Checkpoint::write(const Trainer& trainer, const State& state, Position at) {
  const auto name = name_of(plan_.path, at);
  if (name == written_) return;  // a run that was stopped before it had made a step
  Json content{{"format", format},           {"settings", plan_.settings},
               {"epoch", at.epoch},          {"step", at.step},
               {"checksum", nullptr},        {"progress", state.progress},
               {"in_epoch", state.in_epoch}, {"generators", Json::object()}};
  for (const auto& [of, tensor] : state.generators) content["generators"][of] = hex_of(tensor);
  if (plan_.record) content["record"] = *plan_.record;
  const auto folder = plan_.path.parent_path();
  std::error_code none;
  fs::remove(folder / (name + ".json"), none);  // one that is damaged; it must not speak of the new tensors
  trainer.save(folder / (name + ".pt"));
  content["checksum"] = checksum_of(folder / (name + ".pt"));
  creditlib::io::write_json(folder / (name + ".json"), content);
  written_ = name;

  std::int64_t kept = 0;
  for (const auto& files : files_of(plan_.path)) {
    if (files.at > at || !fs::exists(files.json) || ++kept > plan_.flags.keep) support::remove(files);
  }
}

void Checkpoint::remove() const {
  if (plan_.path.empty() || !leads()) return;
  for (const auto& files : files_of(plan_.path)) support::remove(files);
}

}  // namespace support
