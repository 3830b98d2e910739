// SPDX-License-Identifier: Apache-2.0
#include "snapshot_time_sweep/snapshots.hpp"

#include <fmt/format.h>
#include <torch/utils.h>

#include <algorithm>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/error.hpp>
#include <creditlib/io/json_file.hpp>
#include <creditlib/io/safetensors.hpp>
#include <memory>
#include <string>

#include "support/processes.hpp"
#include "support/resume.hpp"
#include "support/trainer.hpp"
#include "support/training.hpp"
#include "support/weights.hpp"

namespace sweep {
namespace {

using Json = nlohmann::ordered_json;

creditlib::ResidualMLP make_model(const Settings& s, const support::Workbench& bench) {
  return creditlib::ResidualMLP(
      {.input = bench.input(), .width = s.d_hidden, .classes = bench.classes(), .blocks = s.num_blocks});
}

}  // namespace

Snapshots::Snapshots(const Settings& s)
    : s_(s),
      folder_(std::filesystem::path(s.output_dir) /
              fmt::format("bp_ckpts_L{}_d{}_s{}", s.num_blocks, s.d_hidden, s.seed)) {
  for (const auto epoch : s.snapshot_epochs) {
    if (s.retrain || !std::filesystem::exists(path(epoch))) {
      missing_.push_back(epoch);
    } else {
      check_settings(path(epoch));
    }
  }
}

void Snapshots::make(const support::Workbench& bench) const {
  if (missing_.empty()) {
    fmt::print("snapshots in {} have these settings and are used again (--retrain makes them anew)\n",
               folder_.string());
    return;
  }
  fmt::print("{}: back-propagation from the start to epoch {}\n",
             s_.retrain ? "--retrain" : fmt::format("no snapshot of epoch {} in {}", missing_[0], folder_.string()),
             s_.epochs);
  if (support::leads()) creditlib::io::check_writable_folder(folder_);
  torch::manual_seed(static_cast<std::uint64_t>(s_.seed));
  auto model = make_model(s_, bench);
  model->to(torch::Device(bench.device()));
  const creditlib::TrainerOptions options{.lr = s_.lr,
                                          .weight_decay = s_.wd,
                                          .epochs = std::max<std::int64_t>(1, s_.epochs),
                                          .seed = s_.seed,
                                          .group = support::group()};
  support::Trainer trainer(creditlib::BackpropTrainer(model, options));
  if (bench.cuda_graph()) trainer.use_cuda_graphs();
  auto batches = bench.train_batches(s_.seed, /*flat=*/true);
  auto test = bench.test_batches(/*flat=*/true);
  const auto save = [&](std::int64_t epoch, double accuracy) {
    if (std::find(missing_.begin(), missing_.end(), epoch) == missing_.end()) return;
    support::save_weights(path(epoch), *model, "bp", {},
                          {{"config", snapshot_config(s_).dump()},
                           {"epoch", std::to_string(epoch)},
                           {"test_acc", fmt::format("{}", accuracy)}});
    if (!s_.run.quiet) fmt::print("saved {} (test accuracy {:.4f})\n", path(epoch).string(), accuracy);
  };
  save(0, support::accuracy(trainer, test));
  if (s_.epochs == 0) return;
  Json settings = snapshot_config(s_);
  settings["snapshot_epochs"] = s_.snapshot_epochs;  // those before a checkpoint's epoch cannot be made from it
  const support::TrainingPlan plan{
      .title = "bp",
      .quiet = s_.run.quiet,
      .allow_nonfinite = s_.run.allow_nonfinite,
      .tensorboard = s_.run.tensorboard,
      .checkpoint = {
          .path = folder_ / "checkpoint.pt", .settings = settings, .retrain = s_.retrain, .flags = s_.run.checkpoints}};
  support::train(trainer, batches, test, plan,
                 [&](const support::TrainingLog& log, std::int64_t epoch) { save(epoch, log.test_acc.back()); });
}

creditlib::ResidualMLP Snapshots::load(std::int64_t epoch, const support::Workbench& bench) const {
  auto model = make_model(s_, bench);
  support::load_weights(*model, creditlib::io::read_safetensors(path(epoch)), path(epoch));
  model->to(torch::Device(bench.device()));
  model->eval();
  for (auto& parameter : model->embed_parameters()) parameter.requires_grad_(false);
  for (std::int64_t l = 0; l + 1 < model->blocks(); ++l) {
    for (auto& parameter : model->block_parameters(l)) parameter.requires_grad_(false);
  }
  return model;
}

std::filesystem::path Snapshots::path(std::int64_t epoch) const {
  return folder_ / fmt::format("epoch_{}.safetensors", epoch);
}

void Snapshots::check_settings(const std::filesystem::path& file) const {
  const auto metadata = creditlib::io::read_safetensors(file).metadata;
  const auto found = metadata.find("config");
  const auto there = found == metadata.end() ? Json() : Json::parse(found->second, nullptr, /*allow_exceptions=*/false);
  const auto difference = support::first_difference(there, snapshot_config(s_));
  if (difference.empty()) return;
  throw creditlib::Error(
      fmt::format("{} is a snapshot of other settings ({}): use another --output_dir, or --retrain to replace it.",
                  file.string(), difference));
}

}  // namespace sweep
