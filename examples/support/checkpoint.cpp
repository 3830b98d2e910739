// SPDX-License-Identifier: Apache-2.0
#include "support/checkpoint.hpp"

#include <fmt/format.h>

#include <charconv>
#include <creditlib/error.hpp>
#include <creditlib/io/json_file.hpp>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include "support/resume.hpp"

namespace support {
namespace {

using Json = nlohmann::ordered_json;

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
    if (std::from_chars(digits, digits + 2, data[i], 16).ptr != digits + 2)
      throw creditlib::Error("A checkpoint's generator is damaged: remove the checkpoint to train from the start.");
  }
  return bytes;
}

}  // namespace

Checkpoint::Checkpoint(CheckpointPlan plan) : plan_(std::move(plan)), beside_(plan_.path) {
  beside_.replace_extension(".json");
}

std::optional<Checkpoint::State> Checkpoint::load(Trainer& trainer) {
  if (plan_.path.empty()) return std::nullopt;
  if (plan_.retrain) remove();
  if (!std::filesystem::exists(plan_.path) || !std::filesystem::exists(beside_)) return std::nullopt;

  try {
    return read(trainer);
  } catch (const Json::exception& error) {
    throw creditlib::Error(fmt::format("{} is damaged ({}): remove it and {} to train from the start.",
                                       beside_.string(), error.what(), plan_.path.string()));
  }
}

std::optional<Checkpoint::State> Checkpoint::read(Trainer& trainer) {
  const auto file = creditlib::io::read_json(beside_);
  const auto difference = first_difference(file.value("settings", Json()), plan_.settings);
  if (!difference.empty()) {
    throw creditlib::Error(
        fmt::format("{} is a checkpoint of other settings ({}): use another --output_dir, or --retrain to replace it.",
                    plan_.path.string(), difference));
  }
  try {
    trainer.load(plan_.path);
  } catch (const creditlib::Error& error) {
    throw creditlib::Error(fmt::format("{} Remove it to train from the start.", error.what()));
  }
  for (const auto& state : file.value("states", Json::array())) {
    if (state.at("epoch").get<std::int64_t>() != trainer.epoch()) continue;
    State found{.progress = state.at("progress")};
    for (const auto& entry : state.at("generators").items()) {
      found.generators.emplace_back(entry.key(), bytes_of(entry.value().get<std::string>()));
    }
    if (plan_.record) *plan_.record = state.at("record");
    last_ = state;
    return found;
  }
  throw creditlib::Error(
      fmt::format("{} is of the end of epoch {}, of which {} says nothing: remove both to train from the start.",
                  plan_.path.string(), trainer.epoch(), beside_.string()));
}

void Checkpoint::save(const Trainer& trainer, const State& state) {
  const auto start = Clock::now();
  if (plan_.path.empty() || start - saved_ < 20 * cost_) return;

  Json now{{"epoch", trainer.epoch()}, {"progress", state.progress}, {"generators", Json::object()}};
  for (const auto& [name, tensor] : state.generators) now["generators"][name] = hex_of(tensor);
  if (plan_.record) now["record"] = *plan_.record;
  // Two files cannot be replaced in one step, so this one first says what goes with either state of the other.
  Json states = Json::array();
  if (!last_.is_null()) states.push_back(last_);
  states.push_back(now);
  creditlib::io::write_json(beside_, {{"settings", plan_.settings}, {"states", states}});
  trainer.save(plan_.path);

  last_ = std::move(now);
  saved_ = Clock::now();
  cost_ = saved_ - start;
}

void Checkpoint::remove() const {
  if (plan_.path.empty()) return;
  std::error_code ignored;
  std::filesystem::remove(plan_.path, ignored);
  std::filesystem::remove(beside_, ignored);
}

}  // namespace support
