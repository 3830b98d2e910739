// SPDX-License-Identifier: Apache-2.0
#include "support/threads.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <creditlib/runtime/cores.hpp>
#include <creditlib/runtime/threads.hpp>
#include <cstdio>

#include "support/program.hpp"

namespace support {
namespace {

constexpr std::int64_t fewest_steps = 100;  // of a shorter run a timing would be a large part

bool automatic = false;
int all = 1;  // threads for auto to choose from

/// "auto" or a whole number in decimal digits; 0 is auto.
CLI::Validator threads_or_auto() {
  const auto check = [](std::string& text) {
    if (text == "auto") return std::string();
    std::string number = text;
    if (auto wrong = whole(0)(number); !wrong.empty()) return text + " is neither auto nor a whole number >= 1";
    text = std::to_string(std::stoll(number));
    if (text == "0") text = "auto";
    return std::string();
  };
  return CLI::Validator(check, "auto or a whole number >= 1");
}

}  // namespace

void add_threads_flag(Flags& flags, std::string& threads) {
  flags.add("threads", threads, "threads of LibTorch; auto: one or all cores, whichever is faster", {threads_or_auto()},
            Flags::apart);
}

void set_threads(const std::string& wanted, bool prefetch) {
  // Processes on one machine share its cores.
  const int cores = std::max(1, creditlib::runtime::available_cores() / static_cast<int>(local_processes()));
  const int most = prefetch ? std::max(1, cores - 1) : cores;
  automatic = wanted == "auto";
  const auto asked = automatic ? std::int64_t{at::get_num_threads()} : std::stoll(wanted);
  if (!automatic && asked > most && leads()) {
    fmt::print(stderr, "--threads {}: there are {} cores{}{}, and more threads would wait for each other; {} it is\n",
               asked, cores, local_processes() > 1 ? " for each process" : "",
               prefetch ? ", one of which makes batches (--prefetch)" : "", most);
  }
  all = static_cast<int>(std::min<std::int64_t>(asked, most));
  at::set_num_threads(all);
}

std::int64_t settle_threads(Trainer& trainer, const creditlib::data::Batch& batch, std::int64_t steps,
                            std::int64_t earlier, const std::string& title, bool quiet) {
  if (!batch.input.is_cpu()) return at::get_num_threads();
  return settle_threads(trainer, [&] { trainer.step(batch.input, batch.target); }, steps, earlier, title, quiet);
}

bool starts_timing(std::int64_t steps, std::int64_t earlier) {
  if (!automatic || group()->size() > 1) return false;  // a timing would choose for each process on its own
  // An earlier trainer of this process may have chosen one.
  at::set_num_threads(earlier > 0 ? static_cast<int>(std::min<std::int64_t>(earlier, all)) : all);
  return earlier == 0 && steps >= fewest_steps;
}

void time_threads(const std::function<void()>& step, const std::string& title, bool quiet) {
  const auto trial = creditlib::runtime::choose_threads(step);
  if (trial.all == 1 || quiet) return;
  fmt::print(stderr, "{}: threads: {} (a step takes {:.2f} ms on 1, {:.2f} ms on {}; --threads chooses)\n", title,
             trial.chosen, trial.one_milliseconds, trial.all_milliseconds, trial.all);
}

}  // namespace support
