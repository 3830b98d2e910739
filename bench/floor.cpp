// SPDX-License-Identifier: Apache-2.0
// What no training step on the residual MLP can go below: its bare matrix products, and the optimiser's pass over all
// parameters.
//
//   floor [--batch N] [--classes N] [--threads N] [--matmul mkl|onednn] [--device cuda] [--benchmark_…]
//                     Google Benchmark
//   floor --serve --rule bp|dfa|dfa_dense|fa|oracle|adamw --width 256 --blocks 4 …
//                     takes turns (support/serve.hpp)

#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <cmath>
#include <creditlib/error.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/command_line.hpp"
#include "support/flop.hpp"
#include "support/products.hpp"
#include "support/serve.hpp"
#include "support/settings.hpp"
#include "support/stopwatch.hpp"

namespace {

using namespace bench;

/// All products of a step, one after the other, into outputs that are there.
class BareProducts {
 public:
  explicit BareProducts(const Settings& settings) {
    const auto products = Products::of(settings);
    if (products.list().empty())
      throw creditlib::Error("there are no bare products for rule " + settings.rule + " on " + settings.model_name());
    const auto options = torch::TensorOptions(settings.precision == "bf16" ? torch::kBFloat16 : torch::kFloat32)
                             .device(torch::Device(settings.device));
    std::map<std::string, torch::Tensor> matrices;
    for (const auto& [name, size] : products.sizes()) {
      matrices[name] = torch::randn({size.first, size.second}, options) / std::sqrt(static_cast<double>(size.second));
    }
    const auto operand = [&](const std::string& name) {
      return name.back() == '\'' ? matrices.at(name.substr(0, name.size() - 1)).t() : matrices.at(name);
    };
    for (const auto& [out, left, right] : products.list())
      list_.push_back({matrices.at(out), operand(left), operand(right)});
  }

  void run() {
    for (auto& product : list_) at::mm_out(product.out, product.left, product.right);
  }

 private:
  struct Operands {
    torch::Tensor out, left, right;
  };
  std::vector<Operands> list_;
};

/// LibTorch's fused AdamW on parameters of the network's shapes.
class BareAdamW {
 public:
  explicit BareAdamW(const Settings& settings) {
    const creditlib::ResidualMLP model(
        {.width = settings.width, .classes = settings.classes, .blocks = settings.blocks});
    for (const auto& parameter : model->parameters()) {
      const auto options = torch::TensorOptions(torch::kFloat32).device(torch::Device(settings.device));
      parameters_.push_back(torch::randn(parameter.sizes(), options));
      gradients_.push_back(torch::randn(parameter.sizes(), options));
      means_.push_back(torch::zeros(parameter.sizes(), options));
      squares_.push_back(torch::zeros(parameter.sizes(), options));
      steps_.push_back(torch::ones({}, options));
    }
  }

  void run() {
    at::_fused_adamw_(parameters_, gradients_, means_, squares_, {}, steps_, /*lr=*/1e-3, /*beta1=*/0.9,
                      /*beta2=*/0.999, /*weight_decay=*/0.01,
                      /*eps=*/1e-8, /*amsgrad=*/false, /*maximize=*/false);
  }

 private:
  std::vector<torch::Tensor> parameters_, gradients_, means_, squares_, steps_;
};

std::function<void()> work_of(const Settings& settings) {
  if (settings.rule == "adamw") return [work = std::make_shared<BareAdamW>(settings)] { work->run(); };
  return [work = std::make_shared<BareProducts>(settings)] { work->run(); };
}

bool failed = false;

void run_floor(benchmark::State& state, const Settings& settings) {
  try {
    const torch::NoGradGuard no_grad;
    const auto work = work_of(settings);
    Stopwatch watch{torch::Device(settings.device)};
    const double flop = product_flop(work);
    for (auto _ : state) {
      watch.start();
      work();
      state.SetIterationTime(watch.stop());
    }
    if (settings.rule == "adamw") return;
    state.counters["gemm_flop"] = flop;
    state.counters["gemm_flop_rate"] = benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
  } catch (const std::exception& error) {
    failed = true;
    state.SkipWithError(error.what());
  }
}

int serve_floor(const Settings& settings) {
  const torch::NoGradGuard no_grad;
  if (settings.model != "resmlp" || settings.resolved_path() != "closed_form")
    throw creditlib::Error("the floor is of a step by formula on the residual MLP");
  const auto work = work_of(settings);
  Stopwatch watch{torch::Device(settings.device)};
  serve({{"step",
          [&] {
            watch.start();
            work();
            return watch.stop();
          }}},
        {});
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, [&](std::vector<std::string>& arguments) {
    const bool serves = take_switch(arguments, "--serve");
    const auto settings = serves ? take_settings(arguments) : take_common_settings(arguments);
    settings.apply();
    if (!torch::Device(settings.device).is_cpu()) {
      throw creditlib::Error(
          "the floor is measured on the CPU: on a device small products one after the other take the time of their "
          "launches, which a step's graph does not; ./run bench throughput gives a step's share of the device's peak");
    }
    torch::manual_seed(1);
    if (serves) {
      check_all_taken(arguments);
      return serve_floor(settings);
    }
    for (const auto& [width, blocks] : {std::pair{256, 4}, std::pair{512, 2}}) {
      for (const char* rule : {"bp", "dfa", "dfa_dense", "fa", "oracle", "adamw"}) {
        auto s = settings;
        s.rule = rule;
        s.width = width;
        s.blocks = blocks;
        const auto name =
            std::string(s.rule == "adamw" ? "adamw/" : "products/" + s.rule + "/") + s.model_name() + "/" + s.precision;
        benchmark::RegisterBenchmark(name.c_str(), [s](benchmark::State& state) { run_floor(state, s); })
            ->Unit(benchmark::kMillisecond)
            ->UseManualTime();
      }
    }
    const int code = run_benchmarks(argv[0], arguments);
    return failed ? 1 : code;
  });
}
