// SPDX-License-Identifier: Apache-2.0
#include "support/epoch_records.hpp"

#include <cctype>
#include <creditlib/io/atomic_file.hpp>
#include <fstream>

#include "support/figures.hpp"

namespace support {
namespace {

/// "dfa, seed 42" as a folder's name: dfa_seed_42.
std::string folder_of(const std::string& title) {
  std::string name;
  for (const char c : title) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-';
    if (plain || (!name.empty() && name.back() != '_')) name.push_back(plain ? c : '_');
  }
  return name;
}

/// The lines of an earlier run's metrics up to this epoch; a line that is no object with an epoch ends them.
std::string lines_up_to(const std::filesystem::path& file, std::int64_t epochs) {
  std::ifstream stream(file);
  std::string lines;
  for (std::string line; std::getline(stream, line);) {
    const auto entry = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!entry.is_object() || !entry.contains("epoch") || !entry["epoch"].is_number_integer()) break;
    if (entry["epoch"].get<std::int64_t>() > epochs) break;
    lines += line + "\n";
  }
  return lines;
}

}  // namespace

void add_tensorboard_flag(Flags& flags, std::string& folder) {
  flags.add("tensorboard", folder,
            "write curves and histograms for TensorBoard into folders of this one, and metrics.jsonl beside them",
            Flags::apart);
}

nlohmann::ordered_json json_of(const std::vector<EpochScalar>& scalars) {
  auto json = nlohmann::ordered_json::object();
  for (const auto& scalar : scalars) json[scalar.key] = scalar.value;
  return json;
}

EpochRecords::EpochRecords(const std::string& folder, const std::string& title, std::int64_t epochs) {
  if (folder.empty() || !leads()) return;
  const auto own = std::filesystem::path(folder) / folder_of(title);
  events_ = std::make_unique<creditlib::io::EventFile>(own);
  metrics_ = own / "metrics.jsonl";
  lines_ = lines_up_to(metrics_, epochs);
}

void EpochRecords::add(std::int64_t epoch, std::int64_t step, const std::vector<EpochScalar>& scalars,
                       const torch::nn::Module* module, const std::vector<creditlib::diagnostics::Measured>& gamma) {
  if (!events_) return;
  nlohmann::ordered_json entry{{"epoch", epoch}, {"step", step}};
  entry.update(json_of(scalars));
  for (const auto& scalar : scalars) events_->scalar(scalar.tag, scalar.value, epoch);
  if (!gamma.empty()) entry["gamma"] = values(gamma);
  for (std::size_t l = 0; l < gamma.size(); ++l) {
    if (gamma[l].value) events_->scalar("gamma/block_" + std::to_string(l), *gamma[l].value, epoch);
  }
  if (module != nullptr) {
    for (const auto& parameter : module->named_parameters())
      events_->histogram(parameter.key(), parameter.value(), epoch);
  }
  events_->flush();
  lines_ += entry.dump() + "\n";
  creditlib::io::write_atomically(metrics_, lines_);
}

}  // namespace support
