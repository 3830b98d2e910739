// SPDX-License-Identifier: Apache-2.0
// Trains a network of one hidden layer with other tensors in the place of its weights on the way down, and measures how
// far they turn to the weights (docs/experiments/weight_transport.md).

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <creditlib/data/load.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <filesystem>

#include "support/epoch_records.hpp"
#include "support/figures.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/table.hpp"
#include "support/threads.hpp"
#include "support/training.hpp"
#include "weight_transport/angle.hpp"
#include "weight_transport/methods.hpp"

namespace {

namespace data = creditlib::data;
using creditlib::diagnostics::Measured;
using Json = nlohmann::ordered_json;

struct Settings {
  std::vector<std::string> methods = weight_transport::method_names();
  std::vector<std::int64_t> seeds{42, 123, 456};
  std::string dataset = "mnist", data_dir = {};
  std::int64_t epochs = 400, width = 500, batch_size = 128, limit_train = 0;
  double lr = 0, decay = 0;
  std::string output_dir = "results/weight_transport", threads = "auto", tensorboard = {};
  support::CheckpointFlags checkpoints = {};
  bool retrain = false, quiet = false;

  support::Resume resume() const { return {.lists = {"methods", "seeds"}, .retrain = retrain}; }
};

void declare(support::Flags& flags, Settings& s) {
  constexpr auto apart = support::Flags::apart;
  flags.choice("methods", s.methods, weight_transport::method_names(), weight_transport::methods_text());
  flags.add("seeds", s.seeds, "one run of each method per seed, which draws weights, feedback and batches");
  flags.choice("dataset", s.dataset, {"mnist", "digits"}, "mnist or digits");
  flags.add("data_dir", s.data_dir, "the folder of the data set (default: the embedded digits, ./data for mnist)",
            apart);
  flags.count("epochs", s.epochs, 1, "at a constant learning rate");
  flags.count("width", s.width, 1, "of the hidden layer");
  flags.count("batch_size", s.batch_size, 1, "images per step");
  flags.number("lr", s.lr, "SGD's learning rate (0: bp, fa, usf, frsf .2, kp .3, wm .05)");
  flags.add("decay", s.decay, "the part of the weights, and of kp's feedback, that each step takes off",
            {CLI::Range(0.0, 1.0)});
  flags.count("limit_train", s.limit_train, 0, "train on the first N images only (0: all)");
  flags.add("output_dir", s.output_dir, "where results_{dataset}.json goes");
  support::add_threads_flag(flags, s.threads);
  support::add_retrain_flag(flags, s.retrain);
  support::add_checkpoint_flags(flags, s.checkpoints);
  support::add_tensorboard_flag(flags, s.tensorboard);
  flags.add("quiet", s.quiet, "no progress, only the outcome", apart);
}

/// Images with pixels of 0 to 1, not normalized further.
data::Splits loaded(const Settings& s) {
  const std::string folder = !s.data_dir.empty()     ? s.data_dir
                             : s.dataset == "digits" ? CREDITLIB_DATA_DIR "/digits"
                                                     : "data";
  auto splits = data::load(s.dataset, folder);
  for (auto* part : {&splits.train, &splits.test}) {
    part->mean = {0};
    part->deviation = {1};
  }
  if (s.limit_train > 0) splits.train = splits.train.first(std::min(s.limit_train, splits.train.size()));
  return splits;
}

/// Angles in degrees.
struct Angles {
  std::vector<Measured> weights;  ///< of each weight with what stands in its place; empty for back-propagation
  Measured credit;                ///< of the credit at h_1 with the gradient, over all samples of the batch

  Json json() const {
    return {{"weights", support::values(weights)},
            {"credit", support::value(credit)},
            {"undefined", support::reasons({{"weights", weights}, {"credit", {credit}}})}};
  }
};

Angles angles_of(weight_transport::Made& made, const data::Batch& batch) {
  auto& trainer = made.trainer;
  const creditlib::diagnostics::EvalMode eval(trainer.module());
  const auto weights = trainer.module().parameters();
  const auto feedback = made.feedback(trainer);
  Angles found;
  for (std::size_t i = 0; i < feedback.size(); ++i) {
    if (feedback[i].defined()) found.weights.push_back(weight_transport::angle(weights[i], feedback[i]));
  }
  const auto credits = trainer.raw_credits(batch.input, batch.target);
  found.credit = weight_transport::angle(credits[1], trainer.model().true_gradients(batch.input, batch.target)[1]);
  return found;
}

/// One method with one seed, to the last epoch.
Json trained(const std::string& method, std::int64_t seed, const Settings& s, const Json& settings,
             const data::Splits& splits) {
  data::Batches batches(splits.train,
                        {.batch_size = s.batch_size, .flatten = true, .seed = seed, .group = support::group()});
  data::Batches test(splits.test, {.batch_size = 1000, .shuffle = false, .flatten = true});
  const auto measured_on = *test.begin();
  auto made = weight_transport::make(method, {.input = splits.train.images[0].numel(),
                                              .width = s.width,
                                              .classes = splits.train.classes,
                                              .epochs = s.epochs,
                                              .seed = seed,
                                              .mirrorings = batches.batches_per_epoch(),
                                              .lr = s.lr,
                                              .decay = s.decay});
  Json angles = Json::array({angles_of(made, measured_on).json()});  // of the start, then of each epoch's end
  const support::TrainingPlan plan{
      .title = fmt::format("{}, seed {}", method, seed),
      .quiet = s.quiet,
      .tensorboard = s.tensorboard,
      .checkpoint = {
          .path = std::filesystem::path(s.output_dir) / fmt::format("checkpoint_{}_{}_s{}.pt", s.dataset, method, seed),
          .settings = settings,
          .record = &angles,
          .retrain = s.retrain,
          .flags = s.checkpoints}};
  Json entry;
  support::train(made.trainer, batches, test, plan, [&](const support::TrainingLog& log, std::int64_t epoch) {
    angles.push_back(angles_of(made, measured_on).json());
    if (epoch < s.epochs) return;
    entry = {{"test_acc", log.test_acc.back()},
             {"angles", angles.back()},
             {"lr", made.trainer.options().lr},
             {"ms_per_step", support::median(log.ms_per_step)},
             {"log",
              {{"train_loss", log.train_loss},
               {"train_acc", log.train_acc},
               {"test_acc", log.test_acc},
               {"ms_per_step", log.ms_per_step},
               {"threads", log.threads},
               {"angles", angles}}},
             {"environment", support::environment("cpu")}};
  });
  return entry;
}

/// Mean over seeds (and standard deviation) of each method.
void print_table(const Json& results, const Settings& s, const std::filesystem::path& path) {
  support::Table text({"method", "test accuracy", "W, B of the hidden layer", "of the readout", "credit at h_1"});
  for (const auto& method : s.methods) {
    std::vector<double> accuracies;
    std::vector<std::vector<double>> degrees(3);
    for (const auto seed : s.seeds) {
      const Json& entry = results.at(std::to_string(seed)).at(method);
      accuracies.push_back(entry["test_acc"].get<double>());
      const Json& angles = entry["angles"];
      const auto add = [&](std::size_t column, const Json& angle) {
        if (angle.is_number()) degrees[column].push_back(angle.get<double>());
      };
      for (std::size_t i = 0; i < angles["weights"].size(); ++i) add(i, angles["weights"][i]);
      add(2, angles["credit"]);
    }
    std::vector<std::string> row{method, support::mean_and_deviation(accuracies, 4)};
    for (const auto& column : degrees) {
      row.push_back(column.empty() ? "" : support::mean_and_deviation(column, 2));
    }
    text.add(std::move(row));
  }
  fmt::print("\n{}, {} hidden, {} epochs, seeds {}; angles in degrees\n{}results: {}\n", s.dataset, s.width, s.epochs,
             fmt::join(s.seeds, " "), text.text(), path.string());
}

void run(Settings s) {
  support::check_distinct("--methods", s.methods);
  support::check_distinct("--seeds", s.seeds);
  support::set_threads(s.threads);
  const auto splits = loaded(s);
  const support::ResultsFile file(std::filesystem::path(s.output_dir) / fmt::format("results_{}.json", s.dataset));
  Json config = support::config_of(s, declare);
  const auto settings = support::fixed_settings(config, s.resume());
  Json results = support::earlier_results(file, config, s.resume());
  for (const auto seed : s.seeds) {
    auto& of_seed = results[std::to_string(seed)];
    for (const auto& method : s.methods) {
      if (of_seed.contains(method)) {
        support::say_kept(fmt::format("{}, seed {}", method, seed));
        continue;
      }
      of_seed[method] = trained(method, seed, s, settings, splits);
      Json all = results;
      all["config"] = config;
      all["environment"] = support::environment("cpu");
      file.write(all);
    }
  }
  print_table(results, s, file.path());
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_with_flags<Settings>(
      "Trains a network of one hidden layer by back-propagation, feedback alignment, Kolen and Pollack's rule, a "
      "weight mirror and the weights' signs, and measures the angle between weights and feedback.",
      "weight_transport", argc, argv, declare, run);
}
