// SPDX-License-Identifier: Apache-2.0
#include "support/training.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/error.hpp>
#include <creditlib/runtime/tf32.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <cstdio>
#include <fstream>
#include <limits>
#include <numeric>
#include <utility>

#include "creditlib_commit.hpp"
#include "support/epoch_records.hpp"
#include "support/epoch_sums.hpp"
#include "support/figures.hpp"
#include "support/live_line.hpp"
#include "support/matmul.hpp"
#include "support/program.hpp"
#include "support/threads.hpp"

namespace support {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Epoch lines on standard output; between them, where standard error is a terminal, a line there that renews itself.
class Progress {
 public:
  Progress(const TrainingPlan& plan, std::int64_t epochs, std::int64_t steps_per_epoch, std::int64_t done)
      : plan_(plan),
        epochs_(epochs),
        steps_(steps_per_epoch),
        pace_(epochs * steps_per_epoch, done),
        line_(plan.quiet) {}

  void step(std::int64_t epoch, std::int64_t step, const TrainingLog& log, double rate) {
    line_.show(plan_.title, [&] {
      const auto done = epoch * steps_ + step;
      std::vector<std::string> fields{fmt::format("epoch {}/{}, step {}/{}", epoch + 1, epochs_, step, steps_),
                                      pace_.left(done), pace_.rate(done)};
      if (!log.test_acc.empty()) fields.push_back(fmt::format("test accuracy {:.4f}", log.test_acc.back()));
      fields.push_back(fmt::format("learning rate {:.2e}", rate));
      return fields;
    });
  }

  void epoch(std::int64_t epoch, std::int64_t step, const TrainingLog& log, const std::vector<EpochScalar>& scalars,
             double rate) {
    line_.clear();
    if (plan_.quiet) return;
    nlohmann::ordered_json entry{{"epoch", epoch + 1}, {"of", epochs_}, {"step", step}};
    entry.update(json_of(scalars));
    say_epoch(plan_.title, entry,
              {fmt::format("epoch {}/{}", epoch + 1, epochs_), fmt::format("loss {:.4f}", log.train_loss.back()),
               fmt::format("test accuracy {:.4f}", log.test_acc.back()),
               fmt::format("train {:.4f}", log.train_acc.back()), pace_.left((epoch + 1) * steps_),
               fmt::format("{:.2f} ms/step", log.ms_per_step.back()), fmt::format("learning rate {:.2e}", rate)});
  }

 private:
  const TrainingPlan& plan_;
  std::int64_t epochs_, steps_;
  Pace pace_;
  LiveLine line_;
};

/// What is said and written of the last epoch.
std::vector<EpochScalar> scalars_of(const TrainingLog& log, double rate) {
  return {{"loss/train", "train_loss", log.train_loss.back()},
          {"accuracy/train", "train_acc", log.train_acc.back()},
          {"accuracy/test", "test_acc", log.test_acc.back()},
          {"rate", "rate", rate},
          {"ms_per_step", "ms_per_step", log.ms_per_step.back()}};
}

[[noreturn]] void fail_not_finite(Trainer& trainer, const torch::Tensor& x, const TrainingPlan& plan, std::int64_t step,
                                  std::int64_t steps_per_epoch) {
  const auto where = trainer.model().first_not_finite(x);
  throw creditlib::Error(
      fmt::format("{}: the loss is not finite in epoch {}, step {} of the run; {}. Use a smaller --lr, a penalty or "
                  "clipping, or --allow-nonfinite to go on.",
                  plan.title, step / steps_per_epoch + 1, step + 1,
                  where ? "the first part of the network that is not finite is " + *where
                        : "all parameters are finite still, so its logits overflow the loss"));
}

/// Ends the trainer's epoch; where that changes the weights of its sources, the transition is logged.
void end_epoch(Trainer& trainer, const TrainingPlan& plan, TrainingLog& log) {
  const auto from = trainer.weights();
  if (from.size() < 2 || !plan.eval_batch.input.defined()) return trainer.end_epoch();
  const creditlib::diagnostics::EvalMode eval(trainer.module());
  auto before = gamma_at_outputs(trainer, plan.eval_batch);
  trainer.end_epoch();
  if (trainer.weights() == from || trainer.epoch() >= trainer.options().epochs) return;
  log.transitions.push_back(
      {trainer.epoch() + 1, from, trainer.weights(), std::move(before), gamma_at_outputs(trainer, plan.eval_batch)});
}

/// Gamma is measured on the plan's batch, if there is one, in eval mode.
void record(EpochRecords& records, Trainer& trainer, const TrainingPlan& plan,
            const std::vector<EpochScalar>& scalars) {
  std::vector<creditlib::diagnostics::Measured> gamma;
  if (plan.eval_batch.input.defined()) {
    const creditlib::diagnostics::EvalMode eval(trainer.module());
    gamma = gamma_at_outputs(trainer, plan.eval_batch);
  }
  records.add(trainer.epoch() + 1, trainer.steps(), scalars, &trainer.module(), gamma);
}

nlohmann::ordered_json to_json(const TrainingLog& log) {
  return {{"train_loss", log.train_loss},   {"train_acc", log.train_acc},           {"test_acc", log.test_acc},
          {"ms_per_step", log.ms_per_step}, {"transitions", transitions_json(log)}, {"threads", log.threads}};
}

/// What to_json wrote of a log; a number that was not finite is null there.
TrainingLog log_of(const nlohmann::ordered_json& json) {
  const auto numbers = [](const nlohmann::ordered_json& list) {
    std::vector<double> found;
    for (const auto& entry : list) {
      found.push_back(entry.is_number() ? entry.get<double>() : std::numeric_limits<double>::quiet_NaN());
    }
    return found;
  };
  const auto figures = [](const nlohmann::ordered_json& list) {
    std::vector<creditlib::diagnostics::Measured> found(list.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (list[i].is_number()) found[i].value = list[i].get<double>();
    }
    return found;
  };
  TrainingLog log{.train_loss = numbers(json.at("train_loss")),
                  .train_acc = numbers(json.at("train_acc")),
                  .test_acc = numbers(json.at("test_acc")),
                  .ms_per_step = numbers(json.at("ms_per_step")),
                  .transitions = {},
                  .threads = json.value("threads", std::int64_t{0})};
  for (const auto& t : json.at("transitions")) {
    log.transitions.push_back({t.at("epoch").get<std::int64_t>(), numbers(t.at("from")), numbers(t.at("to")),
                               figures(t.at("gamma_before")), figures(t.at("gamma_after"))});
  }
  return log;
}

/// A batch of the kind that these have, without drawing from them.
creditlib::data::Batch batch_like(const creditlib::data::Batches& batches) {
  auto options = batches.options();
  const auto part = batches.dataset().first(std::min(options.batch_size, batches.dataset().size()));
  options.batch_size = part.size();
  options.shuffle = options.augment = options.prefetch = false;
  options.group = nullptr;
  return *creditlib::data::Batches(part, options).begin();
}

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

}  // namespace

std::int64_t samples_of(const creditlib::data::Batches& batches, std::int64_t step) {
  const auto batch = batches.options().batch_size;
  return std::min(batch, batches.size() - step * batch);
}

double accuracy(Trainer& trainer, creditlib::data::Batches& batches) {
  const torch::NoGradGuard no_grad;
  const creditlib::diagnostics::EvalMode eval(trainer.module());
  auto correct = torch::zeros({}, batches.dataset().labels.options());
  for (const auto& [x, y] : batches) correct += trainer.forward(x).argmax(1).eq(y).sum();
  return correct.item<double>() / static_cast<double>(batches.dataset().size());
}

void train(Trainer& trainer, creditlib::data::Batches& batches, creditlib::data::Batches& test,
           const TrainingPlan& plan, const std::function<void(const TrainingLog&, std::int64_t)>& after_epoch) {
  const std::int64_t epochs = trainer.options().epochs, steps = batches.batches_per_epoch();
  const auto images = static_cast<double>(batches.dataset().size());
  const bool on_cpu = batches.dataset().images.is_cpu();
  TrainingLog log;
  auto generator = at::make_generator<at::CPUGeneratorImpl>(plan.random_labels.value_or(0));
  const auto labels = [&](const torch::Tensor& y, std::int64_t step) {
    if (!plan.random_labels) return y;
    const auto all =
        torch::randint(0, batches.dataset().classes, {samples_of(batches, step)}, generator, torch::kInt64);
    return own_rows(all).to(y.device());
  };
  const auto generators = [&] {
    auto states = batches.named_tensors();
    states.emplace_back("labels", generator.get_state());
    return states;
  };
  Checkpoint checkpoint(plan.checkpoint);
  nlohmann::ordered_json in_epoch;  // what an epoch that was stopped had done
  if (auto left = checkpoint.load(trainer)) {
    log = log_of(left->progress);
    batches.load(left->generators);
    for (const auto& [name, state] : left->generators) {
      if (name == "labels") generator.set_state(state);
    }
    in_epoch = std::move(left->in_epoch);
    if (!plan.quiet)
      fmt::print("{}: goes on after epoch {} of {}, step {}\n", plan.title, trainer.epoch(), epochs, trainer.steps());
  }
  EpochRecords records(plan.tensorboard, plan.title, trainer.epoch());
  trainer.module().train();
  log.threads = settle_threads(trainer, batch_like(batches), steps * epochs - trainer.steps(), log.threads, plan.title,
                               plan.quiet);
  Progress progress(plan, epochs, steps, trainer.steps());
  while (trainer.epoch() < epochs) {
    const std::int64_t epoch = trainer.epoch();
    EpochSums sums(steps, batches.dataset().images.device());
    if (!in_epoch.is_null()) sums.load(std::exchange(in_epoch, nullptr));
    const std::int64_t done = sums.steps();
    const auto at_start = generators();
    torch::Tensor last;
    auto start = Clock::now();
    std::int64_t step = 0;
    for (const auto& [x, drawn] : batches) {
      const auto y = labels(drawn, step);
      if (step++ < done) {  // before the run was stopped
        last = x;
        start = Clock::now();
        continue;
      }
      const auto result = trainer.step(x, y);
      sums.add(result, samples_of(batches, step - 1));
      last = x;
      if (on_cpu && !plan.allow_nonfinite && !std::isfinite(result.loss.item<double>()))
        fail_not_finite(trainer, x, plan, trainer.steps() - 1, steps);
      progress.step(epoch, step, log, trainer.rate());
      if (interrupted())
        checkpoint.stop(trainer, {.progress = to_json(log), .generators = at_start, .in_epoch = sums.json()});
    }
    const auto outcome = sums.outcome();
    log.train_loss.push_back(outcome.loss / images);
    log.train_acc.push_back(outcome.correct / images);
    log.ms_per_step.push_back(1e3 * seconds_since(start) /
                              static_cast<double>(std::max<std::int64_t>(1, steps - done)));
    if (!plan.allow_nonfinite && outcome.first_not_finite)
      fail_not_finite(trainer, last, plan, epoch * steps + *outcome.first_not_finite, steps);
    log.test_acc.push_back(accuracy(trainer, test));
    const auto scalars = scalars_of(log, trainer.rate());
    progress.epoch(epoch, trainer.steps(), log, scalars, trainer.rate());
    if (records) record(records, trainer, plan, scalars);
    after_epoch(log, epoch + 1);
    end_epoch(trainer, plan, log);
    if (trainer.epoch() == epochs) break;
    checkpoint.save(trainer, {.progress = to_json(log), .generators = generators()});
  }
  checkpoint.remove();
}

std::vector<creditlib::diagnostics::Measured> gamma_at_outputs(Trainer& trainer, const creditlib::data::Batch& batch) {
  const auto aligned = creditlib::diagnostics::alignment(trainer.raw_credits(batch.input, batch.target),
                                                         trainer.model().true_gradients(batch.input, batch.target));
  return {aligned.begin() + 1, aligned.end()};
}

nlohmann::ordered_json transitions_json(const TrainingLog& log) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& t : log.transitions) {
    list.push_back({{"epoch", t.epoch},
                    {"from", t.from},
                    {"to", t.to},
                    {"gamma_before", values(t.gamma_before)},
                    {"gamma_after", values(t.gamma_after)}});
  }
  return list;
}

nlohmann::ordered_json environment(const std::string& device) {
  nlohmann::ordered_json environment{{"commit", CREDITLIB_COMMIT},  {"libtorch", TORCH_VERSION},
                                     {"processor", processor()},    {"threads", at::get_num_threads()},
                                     {"matmul", matmul_in_use()},   {"device", device},
                                     {"processes", group()->size()}};
  if (device != "cpu") {
    const auto tf32 = creditlib::runtime::tf32_in_use();
    environment["tf32"] = {{"convolutions", tf32.convolutions}, {"products", tf32.products}};
  }
  return environment;
}

}  // namespace support
