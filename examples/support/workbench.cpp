// SPDX-License-Identifier: Apache-2.0
#include "support/workbench.hpp"

#include <torch/cuda.h>

#include <algorithm>
#include <creditlib/data/load.hpp>
#include <creditlib/runtime/tf32.hpp>

#include "support/epoch_records.hpp"
#include "support/matmul.hpp"
#include "support/program.hpp"
#include "support/threads.hpp"

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

void add_run_flags(Flags& flags, RunFlags& run) {
  constexpr auto apart = Flags::apart;
  flags.choice("dataset", run.dataset, creditlib::data::dataset_names(), "images to train on and to test with", apart);
  flags.add("data_dir", run.data_dir, "the folder of the data set (default: the embedded digits, ./data for others)",
            apart);
  flags.add("device", run.device, "auto, cpu, cuda or cuda:N", apart);
  flags.add("gpu", run.gpu, "which CUDA device --device auto and cuda take", apart);
  flags.add("batch_size", run.batch_size, "samples per step, of all processes together", {whole(1)}, apart);
  flags.add("limit_train", run.limit_train, "train on the first N images only (0: all)", {whole(0)}, apart);
  add_threads_flag(flags, run.threads);
  flags.choice("matmul", run.matmul, matmul_names(),
               "what multiplies float32 matrices on the CPU: auto (the faster), mkl, onednn, bf16", apart);
  flags.add("prefetch", run.prefetch, "on the CPU, make the next batch on a thread of its own: the same batches",
            apart);
  flags.add("cuda_graph", run.cuda_graph, "on CUDA, run training steps in CUDA graphs", apart);
  flags.add("tf32", run.tf32, "on CUDA, let products and convolutions of float32 round to TF32 (10 bits)", apart);
  flags.add("any_size", run.any_size, "take CIFAR files of any whole number of records", apart);
  flags.add("allow_nonfinite", run.allow_nonfinite, "go on when the loss is NaN or infinite", apart);
  add_tensorboard_flag(flags, run.tensorboard);
  add_checkpoint_flags(flags, run.checkpoints);
  flags.add("quiet", run.quiet, "no progress, only the outcome", apart);
}

Workbench::Workbench(const RunFlags& flags) : flags_(flags), device_(chosen_device(flags.device, flags.gpu)) {
  if (flags.cuda_graph && device_ == "cpu")
    throw UsageError("--cuda-graph is of CUDA devices, and this run is on the CPU: leave it out, or use --device cuda");
  if (flags.tf32 && device_ == "cpu")
    throw UsageError("--tf32 is of CUDA devices, and this run is on the CPU: leave it out, or use --device cuda");
  if (group()->size() > 1 && device_ != "cpu")
    throw UsageError("several processes train on the CPU alone, and this run is on " + device_ + ": use --device cpu");
  creditlib::runtime::use_tf32(flags.tf32);
  set_threads(flags.threads, flags.prefetch);
  set_matmul(flags.matmul, flags.quiet);
  const std::string folder = !flags.data_dir.empty()     ? flags.data_dir
                             : flags.dataset == "digits" ? CREDITLIB_DATA_DIR "/digits"
                                                         : "data";
  splits_ = creditlib::data::load(flags.dataset, folder, {.any_size = flags.any_size});
  if (flags.no_augment) splits_.augment = false;
  if (flags.limit_train > 0) splits_.train = splits_.train.first(std::min(flags.limit_train, splits_.train.size()));
  splits_.train = splits_.train.to(torch::Device(device_));
  splits_.test = splits_.test.to(torch::Device(device_));
}

creditlib::data::Batches Workbench::train_batches(std::int64_t seed, bool flat) const {
  return creditlib::data::Batches(splits_.train, {.batch_size = flags_.batch_size,
                                                  .augment = splits_.augment,
                                                  .flatten = flat,
                                                  .prefetch = flags_.prefetch,
                                                  .seed = seed,
                                                  .group = group()});
}

creditlib::data::Batches Workbench::test_batches(bool flat) const {
  return creditlib::data::Batches(splits_.test, {.batch_size = 1000, .shuffle = false, .flatten = flat});
}

creditlib::data::Batch Workbench::first_test_samples(std::int64_t n, bool flat) const {
  const auto part = splits_.test.first(std::min(n, splits_.test.size()));
  return *creditlib::data::Batches(part, {.batch_size = part.size(), .shuffle = false, .flatten = flat}).begin();
}

}  // namespace support
