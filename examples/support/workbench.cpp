#include "support/workbench.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/cuda.h>

#include <algorithm>
#include <creditlib/data/load.hpp>
#include <cstdio>
#include <thread>

#include "support/matmul.hpp"
#include "support/program.hpp"

namespace support {
namespace {

/// "cpu" or "cuda:1" of --device auto|cpu|cuda[:N], where auto is CUDA device `gpu` where there is one.
std::string chosen_device(const std::string& device, int gpu) {
  const auto count = static_cast<int>(torch::cuda::device_count());
  if (device == "cpu" || (device == "auto" && count == 0)) return "cpu";
  if ((device == "auto" || device == "cuda") && gpu < 0)
    throw UsageError("--gpu is " + std::to_string(gpu) + ", expected 0 or more");
  int index = -1;
  if (device == "auto" || device == "cuda") index = gpu;
  if (device.rfind("cuda:", 0) == 0 && device.size() > 5 &&
      device.find_first_not_of("0123456789", 5) == std::string::npos) {
    index = std::atoi(device.c_str() + 5);
  }
  if (index < 0) throw UsageError("--device is " + device + ", expected auto, cpu, cuda or cuda:N");
  if (index >= count) {
    throw UsageError("--device " + device + ", CUDA device " + std::to_string(index) + ": LibTorch finds " +
                     std::to_string(count) +
                     " CUDA devices on this machine; use --device cpu, or a LibTorch with CUDA and a driver for it");
  }
  return "cuda:" + std::to_string(index);
}

}  // namespace

void set_threads(const RunFlags& flags) {
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const int wanted = flags.threads > 0 ? flags.threads : at::get_num_threads();
  const int most = flags.prefetch ? std::max(1, cores - 1) : cores;
  if (flags.threads > most)
    fmt::print(stderr, "--threads {}: there are {} cores{}, and more threads would wait for each other; {} it is\n",
               flags.threads, cores, flags.prefetch ? ", one of which makes batches (--prefetch)" : "", most);
  at::set_num_threads(std::min(wanted, most));
}

void add_run_flags(CLI::App& app, RunFlags& flags) {
  app.add_option("--dataset", flags.dataset, "cifar10, cifar100, mnist or digits")
      ->check(CLI::IsMember({"cifar10", "cifar100", "mnist", "digits"}))
      ->capture_default_str();
  app.add_option(flag("data_dir"), flags.data_dir,
                 "the folder of the data set (default: the embedded digits, ./data for others)");
  app.add_option("--device", flags.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--gpu", flags.gpu, "which CUDA device --device auto and cuda take")->capture_default_str();
  app.add_option(flag("batch_size"), flags.batch_size, "samples a step")
      ->check(support::whole(1))
      ->capture_default_str();
  app.add_option(flag("limit_train"), flags.limit_train, "train on the first N images only (0: all)")
      ->check(support::whole(0))
      ->capture_default_str();
  app.add_option("--threads", flags.threads, "threads of LibTorch (0: as it chooses)")
      ->check(support::whole(0))
      ->capture_default_str();
  app.add_option("--matmul", flags.matmul,
                 "what multiplies float32 matrices on the CPU: auto (the faster), mkl, onednn, bf16")
      ->check(CLI::IsMember(matmul_names()))
      ->capture_default_str();
  app.add_flag("--prefetch", flags.prefetch,
               "on the CPU, make the next batch on a thread of its own: the same batches");
  app.add_flag(flag("cuda_graph"), flags.cuda_graph, "on CUDA, run training steps in CUDA graphs");
  app.add_flag(flag("any_size"), flags.any_size, "take CIFAR files of any whole number of records");
  app.add_flag(flag("allow_nonfinite"), flags.allow_nonfinite, "go on when the loss is NaN or infinite");
  app.add_flag("--quiet", flags.quiet, "no progress, only the outcome");
}

Workbench::Workbench(const RunFlags& flags) : flags_(flags), device_(chosen_device(flags.device, flags.gpu)) {
  if (flags.cuda_graph && device_ == "cpu")
    throw UsageError("--cuda-graph is of CUDA devices, and this run is on the CPU: leave it out, or use --device cuda");
  set_threads(flags);
  set_matmul(flags.matmul, flags.quiet);
  const std::string folder = !flags.data_dir.empty()     ? flags.data_dir
                             : flags.dataset == "digits" ? CREDITLIB_DATA_DIR "/digits"
                                                         : "data";
  splits_ = creditlib::data::load(flags.dataset, folder, {.any_size = flags.any_size});
  if (flags.limit_train > 0) splits_.train = splits_.train.first(std::min(flags.limit_train, splits_.train.size()));
  splits_.train = splits_.train.to(torch::Device(device_));
  splits_.test = splits_.test.to(torch::Device(device_));
}

creditlib::data::Batches Workbench::train_batches(std::int64_t seed, bool flat) const {
  return creditlib::data::Batches(splits_.train, {.batch_size = flags_.batch_size,
                                                  .augment = splits_.augment,
                                                  .flatten = flat,
                                                  .prefetch = flags_.prefetch,
                                                  .seed = seed});
}

creditlib::data::Batches Workbench::test_batches(bool flat) const {
  return creditlib::data::Batches(splits_.test, {.batch_size = 1000, .shuffle = false, .flatten = flat});
}

creditlib::data::Batch Workbench::first_test_samples(std::int64_t n, bool flat) const {
  const auto part = splits_.test.first(std::min(n, splits_.test.size()));
  return *creditlib::data::Batches(part, {.batch_size = part.size(), .shuffle = false, .flatten = flat}).begin();
}

}  // namespace support
