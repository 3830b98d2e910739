// SPDX-License-Identifier: Apache-2.0
// Images per second of every rule on every network, path and batch size, eager and in CUDA graphs, in one process.

#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/types.h>
#include <torch/version.h>

#include <algorithm>
#include <creditlib/error.hpp>
#include <creditlib/io/json_file.hpp>
#include <creditlib/runtime/tf32.hpp>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "registry/networks.hpp"
#include "support/command_line.hpp"
#include "support/flop.hpp"
#include "support/memory.hpp"
#include "support/settings.hpp"
#include "support/stepper.hpp"
#include "support/stopwatch.hpp"

namespace {

using namespace bench;
using Json = nlohmann::ordered_json;

constexpr const char* usage =
    R"(throughput: images per second of training steps, rule by network by path by batch size

  throughput [--device cpu|cuda|cuda:N] [--rules A,B,...] [--models A,B,...] [--batches 128,1024] [--json FILE]
             [--seconds S] [--threads N] [--matmul mkl|onednn] [--tf32]

  --rules    names of rules (default: all); a rule that a network or path does not take is left out
  --models   resmlp (width 256, 4 blocks), cnn, resnet, vit (default: all; on the CPU resmlp)
  --batches  samples a step (default: 128,1024; on the CPU 128)
  --seconds  the time of a row's measurement (default: 0.25)
  --json     rows are written here as they come; rows that are there already are not measured again
  --tf32     on CUDA, let products and convolutions of float32 round to TF32

A row is the median of 5 groups of steps; on a device a group lies between two events, so that the host may run ahead.
Columns: ms a step, images/s, kernels (and copies) of a step in a CUDA graph, MiB at the peak and of activations, and the
part that the step's products reach of the rate of one large product of float32, measured first ("of peak").
Exit codes: 0; 1 if a row failed; 2 for wrong flags.
)";

struct Options {
  Settings base;
  std::vector<std::string> rules = bench::rules(), models = bench::models();
  std::vector<std::int64_t> batches;
  std::optional<std::filesystem::path> json;
  double seconds = 0.25;
  bool tf32 = false;
};

double number(const std::string& flag, const std::string& text, double least) {
  try {
    std::size_t used = 0;
    const double value = std::stod(text, &used);
    if (used == text.size() && value >= least) return value;
  } catch (const std::exception&) {
  }
  throw creditlib::Error(flag + " is " + text + ", expected a number of at least " + std::to_string(least));
}

Options options_of(std::vector<std::string>& arguments) {
  Options options;
  if (const auto given = take_value(arguments, "--batches")) {
    for (const auto& item : parts_of(*given)) {
      const double size = number("--batches", item, 1);
      if (size != static_cast<double>(static_cast<std::int64_t>(size)))
        throw creditlib::Error("--batches has " + item + ", expected whole numbers");
      options.batches.push_back(static_cast<std::int64_t>(size));
    }
    if (options.batches.empty()) throw creditlib::Error("--batches names nothing");
  }
  if (const auto given = take_value(arguments, "--seconds")) options.seconds = number("--seconds", *given, 0.001);
  if (const auto given = take_value(arguments, "--json")) {
    options.json = *given;
    const auto folder = std::filesystem::absolute(*options.json).parent_path();
    if (!std::filesystem::is_directory(folder))
      throw creditlib::Error("--json " + *given + ": its folder does not exist");
  }
  options.tf32 = take_switch(arguments, "--tf32");
  take_names(arguments, "--rules", options.rules);
  options.base = take_common_settings(arguments);
  const bool on_cpu = torch::Device(options.base.device).is_cpu();
  if (on_cpu && std::find(arguments.begin(), arguments.end(), "--models") == arguments.end())
    options.models = {"resmlp"};
  take_names(arguments, "--models", options.models);
  if (options.batches.empty())
    options.batches = on_cpu ? std::vector<std::int64_t>{128} : std::vector<std::int64_t>{128, 1024};
  check_all_taken(arguments);
  return options;
}

/// Multiplications and additions per second of one large product of float32.
double product_rate(torch::Device device) {
  const std::int64_t size = device.is_cpu() ? 1024 : 8192;
  const auto a = torch::randn({size, size}, device), b = torch::randn({size, size}, device);
  auto out = torch::empty_like(a);
  Stopwatch watch(device);
  double best = 0;
  for (int i = 0; i < 6; ++i) {
    watch.start();
    at::mm_out(out, a, b);
    const double seconds = watch.stop();
    if (i > 0) best = std::max(best, 2.0 * static_cast<double>(size * size * size) / seconds);
  }
  return best;
}

/// Seconds a step, the lower quartile, median and upper quartile of 5 groups.
std::vector<double> times_of(StepLoop& loop, torch::Device device, double seconds) {
  for (int i = 0; i < 3; ++i) loop.step();
  Stopwatch watch(device);
  watch.start();
  loop.step();
  const double once = watch.stop();
  constexpr int groups = 5;
  const auto steps = std::clamp<std::int64_t>(static_cast<std::int64_t>(seconds / groups / once), 1, 2000);
  std::vector<double> times;
  for (int group = 0; group < groups; ++group) {
    watch.start();
    for (std::int64_t i = 0; i < steps; ++i) loop.step();
    times.push_back(watch.stop() / static_cast<double>(steps));
  }
  std::sort(times.begin(), times.end());
  return {times[1], times[2], times[3]};
}

/// Whether one of the rows has all that this one says.
bool known(const Json& rows, const Json& row) {
  return std::any_of(rows.begin(), rows.end(), [&](const Json& other) {
    for (const auto& [key, value] : row.items()) {
      if (other.value(key, Json()) != value) return false;
    }
    return true;
  });
}

class Table {
 public:
  explicit Table(const Options& options)
      : options_(options), device_(options.base.device), peak_(product_rate(device_)) {
    described_ = {{"device", options.base.device},
                  {"libtorch", TORCH_VERSION},
                  {"threads", options.base.threads},
                  {"matmul", options.base.matmul},
                  {"tf32", options.tf32}};
    if (options.json && std::filesystem::exists(*options.json)) {
      const auto before = creditlib::io::read_json(*options.json);
      if (before.value("settings", Json()) != described_) {
        throw creditlib::Error(options.json->string() + " has rows of other settings (" +
                               before.value("settings", Json()).dump() + "): give another file, or remove it");
      }
      for (const auto& row : before.at("rows")) {
        if (!row.contains("error")) rows_.push_back(row);
      }
    }
  }

  int run() {
    std::printf("one large product of float32: %.1f GFLOP/s\n", peak_ / 1e9);
    std::printf("%-22s %-14s %-16s %-6s %6s %10s %11s %8s %9s %9s %8s\n", "rule", "model", "path", "mode", "batch",
                "ms", "images/s", "kernels", "MiB peak", "MiB act.", "of peak");
    for (const auto& model : options_.models) {
      for (const auto batch : options_.batches) {
        for (const auto& rule : options_.rules) {
          for (const char* path : {"generic", "closed_form", "constant_memory"}) {
            auto settings = options_.base;
            settings.model = model;
            settings.batch = batch;
            settings.rule = rule;
            settings.path = path;
            measure(settings, false);
            if (!device_.is_cpu()) measure(settings, true);
          }
        }
      }
    }
    return failed_ ? 1 : 0;
  }

 private:
  void measure(const Settings& settings, bool graph) {
    Json row{{"rule", settings.rule},
             {"model", settings.model_name()},
             {"path", settings.path},
             {"mode", graph ? "graph" : "eager"},
             {"batch", settings.batch}};
    if (known(rows_, row)) return;
    std::optional<StepLoop> loop;
    try {
      loop.emplace(settings, /*batches=*/4);  // refuses what the rule, the network or the path does not take
    } catch (const creditlib::Error&) {
      return;
    }
    try {
      loop->step();
      const double flop = product_flop([&] { loop->step(); });  // a graph's replay calls no operators
      if (graph && !loop->use_graphs().empty()) return;
      const auto times = times_of(*loop, device_, options_.seconds);
      const auto nodes = loop->nodes();
      loop.reset();
      const auto memory = memory_of(settings);
      const double images = static_cast<double>(settings.batch) / times[1];
      row["ms"] = 1e3 * times[1];
      row["ms_quartiles"] = {1e3 * times[0], 1e3 * times[2]};
      row["images_per_second"] = images;
      row["kernels"] = nodes > 0 ? Json(nodes) : Json();
      row["peak_bytes"] = memory.peak;
      row["activation_bytes"] = memory.activations;
      row["product_flop"] = flop;
      row["of_peak"] = flop / times[1] / peak_;
      std::printf("%-22s %-14s %-16s %-6s %6ld %10.3f %11.0f %8s %9.1f %9.1f %8.3f\n", settings.rule.c_str(),
                  settings.model_name().c_str(), settings.path.c_str(), graph ? "graph" : "eager",
                  static_cast<long>(settings.batch), 1e3 * times[1], images,
                  nodes > 0 ? std::to_string(nodes).c_str() : "", memory.peak / 1048576, memory.activations / 1048576,
                  flop / times[1] / peak_);
    } catch (const std::exception& error) {
      const std::string said = error.what();
      row["error"] = said.substr(0, said.find('\n'));
      std::printf("%-22s %-14s %-16s %-6s %6ld failed: %s\n", settings.rule.c_str(), settings.model_name().c_str(),
                  settings.path.c_str(), graph ? "graph" : "eager", static_cast<long>(settings.batch),
                  row["error"].get<std::string>().c_str());
      failed_ = true;
    }
    std::fflush(stdout);
    rows_.push_back(row);
    if (options_.json) {
      creditlib::io::write_json(*options_.json,
                                {{"settings", described_}, {"product_flop_per_second", peak_}, {"rows", rows_}});
    }
  }

  Options options_;
  torch::Device device_;
  double peak_;
  Json described_, rows_ = Json::array();
  bool failed_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, [&](std::vector<std::string>& arguments) {
    if (take_switch(arguments, "--help") || take_switch(arguments, "-h")) {
      std::printf("%s", usage);
      return 0;
    }
    const bool brief = take_brief(arguments);  // then a small row or two
    auto options = options_of(arguments);
    if (brief) {
      options.rules = {"bp", "dfa"};
      options.models = {"resmlp"};
      options.batches = {8};
      options.seconds = 0.001;
    }
    options.base.apply();
    creditlib::runtime::use_tf32(options.tf32);
    return Table(options).run();
  });
}
