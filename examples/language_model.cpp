// SPDX-License-Identifier: Apache-2.0
// Trains a causal transformer on the characters of a text by back-propagation or by one credit rule
// (docs/experiments/language_model.md).

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <creditlib/model/transformer_lm.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <numbers>

#include "language_model/text.hpp"
#include "registry/rules.hpp"
#include "support/epoch_records.hpp"
#include "support/figures.hpp"
#include "support/live_line.hpp"
#include "support/methods.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/threads.hpp"
#include "support/training.hpp"
#include "support/weights.hpp"

namespace {

using Json = nlohmann::ordered_json;
using creditlib::TransformerLM;
using language_model::Text;

struct Settings {
  std::string method = {}, text = CREDITLIB_DATA_DIR "/text/persuasion.txt";
  std::int64_t context = 64, width = 64, heads = 4, blocks = 4, batch_size = 32, steps = 2000, eval_every = 200,
               seed = 42;
  double lr = 1e-3, wd = 0.01, penalty_lam = 0;
  bool frozen_blocks = false;
  std::string output_dir = "results/language_model", threads = "auto", tensorboard = {};
  support::CheckpointFlags checkpoints = {};
  bool retrain = false, quiet = false;

  std::int64_t epochs() const { return (steps + eval_every - 1) / eval_every; }
  std::string name() const { return method + (frozen_blocks ? "_frozen" : ""); }
};

void declare(support::Flags& flags, Settings& s) {
  std::string rules;
  for (const auto& name : registry::rule_names()) rules += (rules.empty() ? "" : ", ") + name;
  flags.choice("method", s.method, registry::rule_names(), rules, {.required = true});
  flags.add("text", s.text, "the file whose characters are learned; its last tenth is for validation",
            {CLI::ExistingFile}, support::Flags::apart);
  flags.count("context", s.context, 1, "characters in a window");
  flags.count("width", s.width, 1, "d of the transformer");
  flags.count("heads", s.heads, 1, "attention heads; divides width");
  flags.count("blocks", s.blocks, 1, "L");
  flags.count("batch_size", s.batch_size, 1, "windows per step");
  flags.count("steps", s.steps, 1, "of training; the learning rate's cosine falls to 0 over them");
  flags.count("eval_every", s.eval_every, 1,
              "steps between two measurements on the validation part: an epoch, at whose end the learning rate falls");
  flags.add("seed", s.seed, "of the weights, the feedback, the nets, the batches and the sample");
  flags.number("lr", s.lr, "AdamW's learning rate");
  flags.number("wd", s.wd, "AdamW's weight decay");
  flags.number("penalty_lam", s.penalty_lam, "adds this times the mean of ||f_l||^2 to each block's loss");
  flags.add("frozen_blocks", s.frozen_blocks, "the control: blocks stay as they are, embed and readout learn");
  flags.add("output_dir", s.output_dir, "where {method}_s{seed}.json and its weights go", support::Flags::apart);
  support::add_threads_flag(flags, s.threads);
  support::add_retrain_flag(flags, s.retrain);
  support::add_checkpoint_flags(flags, s.checkpoints);
  support::add_tensorboard_flag(flags, s.tensorboard);
  flags.add("quiet", s.quiet, "no progress, only the outcome", support::Flags::apart);
}

Json config_of(const Settings& s, const Text& text) {
  Json config = support::config_of(s, declare);
  config["text"] = {{"file", std::filesystem::path(s.text).filename().string()},
                    {"characters", text.size()},
                    {"fnv1a", text.checksum()}};
  return config;
}

support::Trainer make_trainer(const Settings& s, const TransformerLM& model) {
  if (s.frozen_blocks) support::freeze_blocks(model);
  support::MethodSettings settings{
      .options = {.lr = s.lr, .weight_decay = s.wd, .epochs = s.epochs(), .seed = s.seed, .group = support::group()},
      .penalty = s.penalty_lam};
  settings.rule.epochs = s.epochs();
  settings.rule.batch_size = s.batch_size;
  return support::rule_trainer(s.method, model, settings, /*mean_over_positions=*/true);
}

/// The mean loss over the windows, in bits per character.
double bits_per_character(TransformerLM& model, const std::vector<language_model::Batch>& batches) {
  const torch::NoGradGuard no_grad;
  const creditlib::diagnostics::EvalMode eval(*model);
  double sum = 0, windows = 0;
  for (const auto& [x, y] : batches) {
    sum += creditlib::CrossEntropy{}.loss(model->forward(x), y).sum().item<double>();
    windows += static_cast<double>(x.size(0));
  }
  return sum / windows / std::numbers::ln2;
}

/// Text that the model writes, a character after the other, each drawn from its distribution.
std::string sampled(TransformerLM& model, const Text& text, std::int64_t characters, std::int64_t seed) {
  const torch::NoGradGuard no_grad;
  const creditlib::diagnostics::EvalMode eval(*model);
  auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<std::uint64_t>(seed));
  auto written = torch::full({1, 1}, text.first_token(), torch::kInt64);
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < characters; ++i) {
    const auto seen = std::min(written.size(1), model->options().context);
    const auto logits = model->forward(written.narrow(1, written.size(1) - seen, seen)).select(1, seen - 1);
    const auto next = logits.softmax(1).multinomial(1, /*replacement=*/false, generator);
    written = at::cat({written, next}, 1);
    ids.push_back(next.item<std::int64_t>());
  }
  return text.decoded(ids);
}

void print_outcome(const Settings& s, const Json& results, const std::string& stem) {
  fmt::print("\n[{} s={}] validation: {:.4f} bits per character\nGamma by block: {}\n", s.name(), s.seed,
             results["validation_bits_per_character"].get<double>(), support::shown(results["gamma_by_block"]));
  fmt::print("A sample:\n{}\n\n", results["sample"].get<std::string>());
  fmt::print("results: {}.json\nweights: {}.safetensors\n", stem, stem);
}

class Run {
 public:
  Run(const Settings& s, const Text& text)
      : s_(s),
        text_(text),
        stem_((std::filesystem::path(s.output_dir) / fmt::format("{}_s{}", s.name(), s.seed)).string()),
        file_(stem_ + ".json"),
        config_(config_of(s, text)),
        title_(fmt::format("{}, seed {}", s.name(), s.seed)) {}

  void operator()() {
    const support::Resume resume{.retrain = s_.retrain};
    const Json earlier = support::earlier_results(file_, config_, resume);
    if (earlier.value("finished", false)) {
      support::say_kept(title_);
      return print_outcome(s_, earlier, stem_);
    }
    torch::manual_seed(static_cast<std::uint64_t>(s_.seed));
    TransformerLM model({.vocabulary = text_.vocabulary(),
                         .context = s_.context,
                         .width = s_.width,
                         .heads = s_.heads,
                         .blocks = s_.blocks,
                         .any_positions = false});
    auto trainer = make_trainer(s_, model);
    const Json results = train(model, trainer, resume);
    print_outcome(s_, results, stem_);
  }

 private:
  using Clock = std::chrono::steady_clock;

  Json train(TransformerLM& model, support::Trainer& trainer, const support::Resume& resume) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<std::uint64_t>(s_.seed));
    const auto validation = text_.validation(s_.batch_size);
    support::Checkpoint checkpoint(
        {.path = std::filesystem::path(s_.output_dir) / fmt::format("checkpoint_{}_s{}.pt", s_.name(), s_.seed),
         .settings = support::fixed_settings(config_, resume),
         .retrain = s_.retrain,
         .flags = s_.checkpoints});
    Json log{{"step", Json::array()},
             {"train_bits_per_character", Json::array()},
             {"validation_bits_per_character", Json::array()},
             {"ms_per_step", Json::array()},
             {"threads", 0}};
    double loss = 0;  // over the steps since the last measurement
    if (const auto left = checkpoint.load(trainer)) {
      log = left->progress;
      if (!left->in_epoch.is_null()) loss = left->in_epoch.at("loss").get<double>();
      for (const auto& [name, state] : left->generators) {
        if (name == "batches") generator.set_state(state);
      }
      if (!s_.quiet) fmt::print("{}: goes on after step {} of {}\n", title_, trainer.steps(), s_.steps);
    } else {
      log["validation_bits_at_start"] = bits_per_character(model, validation);
    }
    trainer.module().train();
    log["threads"] = support::settle_threads(trainer, validation.front(), s_.steps - trainer.steps(),
                                             log["threads"].get<std::int64_t>(), title_, s_.quiet);
    support::EpochRecords records(s_.tensorboard, title_, trainer.epoch());
    support::LiveLine line(s_.quiet);
    const support::Pace pace(s_.steps, trainer.steps());
    for (;;) {
      const auto first_step = trainer.epoch() * s_.eval_every, resumed_at = trainer.steps();
      const auto last_step = std::min(s_.steps, first_step + s_.eval_every);
      const auto steps = static_cast<double>(last_step - first_step);
      const auto start = Clock::now();
      while (trainer.steps() < last_step) {
        const auto [x, y] = text_.drawn(s_.batch_size, generator);
        loss += trainer.step(support::own_rows(x), support::own_rows(y)).loss.item<double>();
        if (!std::isfinite(loss)) {
          throw creditlib::Error(
              fmt::format("{}: the loss is not finite in step {}. Use a smaller --lr.", title_, trainer.steps()));
        }
        line.show(title_, [&] {
          return std::vector<std::string>{fmt::format("step {}/{}", trainer.steps(), s_.steps),
                                          pace.left(trainer.steps()), pace.rate(trainer.steps())};
        });
        if (support::interrupted()) {
          checkpoint.stop(
              trainer,
              {.progress = log, .generators = {{"batches", generator.get_state()}}, .in_epoch = {{"loss", loss}}});
        }
      }
      line.clear();
      const auto made = static_cast<double>(std::max<std::int64_t>(1, last_step - resumed_at));
      const auto ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count() / made;
      log["step"].push_back(trainer.steps());
      log["train_bits_per_character"].push_back(loss / steps / std::numbers::ln2);
      log["validation_bits_per_character"].push_back(bits_per_character(model, validation));
      log["ms_per_step"].push_back(ms);
      loss = 0;
      say(log, trainer, records, pace);
      if (trainer.steps() == s_.steps) break;
      write(log, Json::object(), /*finished=*/false);
      trainer.end_epoch();
      checkpoint.save(trainer, {.progress = log, .generators = {{"batches", generator.get_state()}}});
    }
    const auto results = write(log, outcome(model, trainer, validation.front()), /*finished=*/true);
    checkpoint.remove();
    return results;
  }

  void say(const Json& log, support::Trainer& trainer, support::EpochRecords& records,
           const support::Pace& pace) const {
    const auto last = [&](const char* key) { return log[key].back().get<double>(); };
    const std::vector<support::EpochScalar> scalars{
        {"bits_per_character/train", "train_bits_per_character", last("train_bits_per_character")},
        {"bits_per_character/validation", "validation_bits_per_character", last("validation_bits_per_character")},
        {"rate", "rate", trainer.rate()},
        {"ms_per_step", "ms_per_step", last("ms_per_step")}};
    const auto epoch = trainer.epoch() + 1, step = trainer.steps();
    if (records) records.add(epoch, step, scalars, &trainer.module());
    if (s_.quiet) return;
    Json entry{{"epoch", epoch}, {"of", s_.epochs()}, {"step", step}};
    entry.update(support::json_of(scalars));
    support::say_epoch(title_, entry,
                       {fmt::format("step {}/{}", step, s_.steps),
                        fmt::format("bits per character {:.4f} train", last("train_bits_per_character")),
                        fmt::format("{:.4f} validation", last("validation_bits_per_character")), pace.left(step),
                        fmt::format("{:.1f} ms/step", last("ms_per_step"))});
  }

  /// What is measured at the end, and the weights.
  Json outcome(TransformerLM& model, support::Trainer& trainer, const language_model::Batch& batch) const {
    support::save_weights(stem_ + ".safetensors", trainer.module(), s_.method, trainer.credit_tensors(),
                          {{"method", s_.method}, {"seed", std::to_string(s_.seed)}, {"config", config_.dump()}});
    const creditlib::diagnostics::EvalMode eval(trainer.module());
    const auto gamma = support::gamma_at_outputs(trainer, batch);
    return {{"gamma_by_block", support::values(gamma)},
            {"undefined", support::reasons({{"gamma_by_block", gamma}})},
            {"sample", sampled(model, text_, 300, s_.seed)}};
  }

  Json write(const Json& log, const Json& outcome, bool finished) const {
    Json results{{"method", s_.method},
                 {"seed", s_.seed},
                 {"validation_bits_per_character", log["validation_bits_per_character"].back()}};
    results.update(outcome);
    results["log"] = log;
    results["config"] = config_;
    results["environment"] = support::environment("cpu");
    results["finished"] = finished;
    file_.write(results);
    return results;
  }

  const Settings& s_;
  const Text& text_;
  std::string stem_;
  support::ResultsFile file_;
  Json config_;
  std::string title_;
};

void run(Settings s) {
  if (s.width % s.heads != 0) {
    throw support::UsageError(
        fmt::format("--width {} cannot be divided among --heads {}: choose a multiple of heads", s.width, s.heads));
  }
  support::set_threads(s.threads);
  const Text text(s.text, s.context);
  Run(s, text)();
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_with_flags<Settings>(
      "Trains a causal transformer on the characters of a text by back-propagation or by one credit rule.",
      "language_model", argc, argv, declare, run);
}
