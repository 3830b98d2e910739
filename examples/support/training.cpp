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

std::string clock_text(double seconds) {
  const auto whole = static_cast<long>(seconds + 0.5);
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

/// Epoch lines on standard output; between them, where standard error is a terminal, a line there that renews itself.
class Progress {
 public:
  Progress(const TrainingPlan& plan, std::int64_t epochs, std::int64_t steps_per_epoch)
      : plan_(plan), epochs_(epochs), steps_per_epoch_(steps_per_epoch), line_(plan.quiet) {}

  void step(std::int64_t epoch, std::int64_t step, const TrainingLog& log, double rate) {
    ++done_;
    line_.show([&] {
      const auto accuracy = log.test_acc.empty() ? std::string("-") : fmt::format("{:.4f}", log.test_acc.back());
      return fmt::format("{}: epoch {}/{}, step {}/{}, test accuracy {}, rate {:.2e}, {} left", plan_.title, epoch + 1,
                         epochs_, step, steps_per_epoch_, accuracy, rate, left(epoch));
    });
  }

  void epoch(std::int64_t epoch, const TrainingLog& log, double rate) {
    line_.clear();
    if (plan_.quiet) return;
    std::fputs(fmt::format("{}: epoch {}/{}, train loss {:.4f}, train accuracy {:.4f}, test accuracy {:.4f}, rate "
                           "{:.2e}, {:.2f} ms a step, {} left\n",
                           plan_.title, epoch + 1, epochs_, log.train_loss.back(), log.train_acc.back(),
                           log.test_acc.back(), rate, log.ms_per_step.back(), left(epoch))
                   .c_str(),
               stdout);
    std::fflush(stdout);
  }

 private:
  std::string left(std::int64_t epoch) const {
    const auto all = static_cast<double>((epochs_ - first_epoch(epoch)) * steps_per_epoch_);
    return clock_text(seconds_since(start_) / static_cast<double>(done_) * (all - static_cast<double>(done_)));
  }
  std::int64_t first_epoch(std::int64_t epoch) const { return epoch - (done_ - 1) / steps_per_epoch_; }

  const TrainingPlan& plan_;
  std::int64_t epochs_, steps_per_epoch_, done_ = 0;
  LiveLine line_;
  Clock::time_point start_ = Clock::now();
};

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
  Progress progress(plan, epochs, steps);
  auto generator = at::make_generator<at::CPUGeneratorImpl>(plan.random_labels.value_or(0));
  const auto drawn = [&](const torch::Tensor& y) {
    return torch::randint(0, batches.dataset().classes, y.sizes(), generator, torch::kInt64).to(y.device());
  };
  Checkpoint checkpoint(plan.checkpoint);
  if (const auto left = checkpoint.load(trainer)) {
    log = log_of(left->progress);
    batches.load(left->generators);
    for (const auto& [name, state] : left->generators) {
      if (name == "labels") generator.set_state(state);
    }
    if (!plan.quiet)
      fmt::print("{}: goes on after epoch {} of {}, from {}\n", plan.title, trainer.epoch(), epochs,
                 plan.checkpoint.path.string());
  }
  EpochRecords records(plan.tensorboard, plan.title, trainer.epoch());
  trainer.module().train();
  log.threads = settle_threads(trainer, batch_like(batches), steps * (epochs - trainer.epoch()), log.threads,
                               plan.title, plan.quiet);
  while (trainer.epoch() < epochs) {
    const std::int64_t epoch = trainer.epoch();
    EpochSums sums(steps, batches.dataset().images.device());
    torch::Tensor last;
    const auto start = Clock::now();
    std::int64_t in_epoch = 0;
    for (const auto& [x, y] : batches) {
      const auto result = trainer.step(x, plan.random_labels ? drawn(y) : y);
      sums.add(result, x.size(0));
      last = x;
      if (on_cpu && !plan.allow_nonfinite && !std::isfinite(result.loss.item<double>()))
        fail_not_finite(trainer, x, plan, trainer.steps() - 1, steps);
      progress.step(epoch, ++in_epoch, log, trainer.rate());
      if (interrupted()) throw Interrupted();
    }
    const auto outcome = sums.outcome();
    log.train_loss.push_back(outcome.loss / images);
    log.train_acc.push_back(outcome.correct / images);
    log.ms_per_step.push_back(1e3 * seconds_since(start) / static_cast<double>(steps));
    if (!plan.allow_nonfinite && outcome.first_not_finite)
      fail_not_finite(trainer, last, plan, epoch * steps + *outcome.first_not_finite, steps);
    log.test_acc.push_back(accuracy(trainer, test));
    progress.epoch(epoch, log, trainer.rate());
    records.add(trainer, log, epoch + 1, trainer.rate(), plan.eval_batch);
    after_epoch(log, epoch + 1);
    end_epoch(trainer, plan, log);
    if (trainer.epoch() == epochs) break;
    auto generators = batches.named_tensors();
    generators.emplace_back("labels", generator.get_state());
    checkpoint.save(trainer, {.progress = to_json(log), .generators = std::move(generators)});
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
  nlohmann::ordered_json environment{{"commit", CREDITLIB_COMMIT}, {"libtorch", TORCH_VERSION},
                                     {"processor", processor()},   {"threads", at::get_num_threads()},
                                     {"matmul", matmul_in_use()},  {"device", device}};
  if (device != "cpu") {
    const auto tf32 = creditlib::runtime::tf32_in_use();
    environment["tf32"] = {{"convolutions", tf32.convolutions}, {"products", tf32.products}};
  }
  return environment;
}

}  // namespace support
