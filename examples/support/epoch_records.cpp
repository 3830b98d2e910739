// SPDX-License-Identifier: Apache-2.0
#include "support/epoch_records.hpp"

#include <cctype>
#include <creditlib/io/atomic_file.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/figures.hpp"
#include "support/training.hpp"

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

EpochRecords::EpochRecords(const std::string& folder, const std::string& title, std::int64_t epochs) {
  if (folder.empty()) return;
  const auto own = std::filesystem::path(folder) / folder_of(title);
  events_ = std::make_unique<creditlib::io::EventFile>(own);
  metrics_ = own / "metrics.jsonl";
  lines_ = lines_up_to(metrics_, epochs);
}

void EpochRecords::add(Trainer& trainer, const TrainingLog& log, std::int64_t epoch, double rate,
                       const creditlib::data::Batch& eval_batch) {
  if (!events_) return;
  nlohmann::ordered_json entry{{"epoch", epoch},
                               {"step", trainer.steps()},
                               {"train_loss", log.train_loss.back()},
                               {"train_acc", log.train_acc.back()},
                               {"test_acc", log.test_acc.back()},
                               {"rate", rate},
                               {"ms_per_step", log.ms_per_step.back()}};
  events_->scalar("loss/train", log.train_loss.back(), epoch);
  events_->scalar("accuracy/train", log.train_acc.back(), epoch);
  events_->scalar("accuracy/test", log.test_acc.back(), epoch);
  events_->scalar("rate", rate, epoch);
  events_->scalar("ms_per_step", log.ms_per_step.back(), epoch);
  if (eval_batch.input.defined()) {
    const creditlib::diagnostics::EvalMode eval(trainer.module());
    const auto gamma = gamma_at_outputs(trainer, eval_batch);
    entry["gamma"] = values(gamma);
    for (std::size_t l = 0; l < gamma.size(); ++l) {
      if (gamma[l].value) events_->scalar("gamma/block_" + std::to_string(l), *gamma[l].value, epoch);
    }
  }
  for (const auto& parameter : trainer.module().named_parameters())
    events_->histogram(parameter.key(), parameter.value(), epoch);
  events_->flush();
  lines_ += entry.dump() + "\n";
  creditlib::io::write_atomically(metrics_, lines_);
}

}  // namespace support
