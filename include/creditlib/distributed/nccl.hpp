// SPDX-License-Identifier: Apache-2.0
#pragma once

#if !__has_include(<nccl.h>)
#error \
    "creditlib: creditlib/distributed/nccl.hpp needs the headers of CUDA and nccl.h, of the NCCL that LibTorch was built with"
#endif
#if !defined(USE_C10D_NCCL)
#define USE_C10D_NCCL  // without it ProcessGroupNCCL.hpp is empty
#endif

#include <c10/cuda/CUDAFunctions.h>
#include <nccl.h>
#include <torch/csrc/cuda/nccl.h>

#include <creditlib/distributed/c10d.hpp>
#include <creditlib/distributed/detail/backend_group.hpp>
#include <creditlib/distributed/detail/environment.hpp>
#include <creditlib/distributed/detail/meeting.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <memory>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <utility>

namespace creditlib::distributed {

/// The CUDA device of this process: that of this machine with the number LOCAL_RANK, as torchrun sets it; the first one if
/// it is not set. Throws Error if the machine has no such device.
inline torch::Device local_cuda_device() {
  const auto devices = static_cast<std::int64_t>(c10::cuda::device_count());
  if (devices == 0) detail::fail("local_cuda_device: this machine has no CUDA device that LibTorch can use.");
  const auto number =
      detail::number_of("LOCAL_RANK", detail::environment_variable("LOCAL_RANK").value_or("0"), 0, devices - 1);
  return {torch::kCUDA, static_cast<c10::DeviceIndex>(number)};
}

/// from_environment() over NCCL: for models on local_cuda_device(), which becomes the current device.
///
/// - If a process is gone, LibTorch's watchdog ends the others; with TORCH_NCCL_BLOCKING_WAIT=1 in the environment its waits
///   throw instead.
/// - Throws Error where from_environment() and local_cuda_device() do, and unless nccl.h is of the version that LibTorch
///   was built with.
/// - Has never been run with a GPU.
///
/// Needs the CMake target creditlib::distributed, LibTorch with CUDA, and its headers.
inline std::shared_ptr<Group> nccl_from_environment(const GroupOptions& options = {}) {
  return detail::translated([&]() -> std::shared_ptr<Group> {
    const auto environment = detail::read_environment();
    if (environment.size == 1) return alone();
    constexpr std::uint64_t own = std::uint64_t{NCCL_MAJOR} << 32 | std::uint64_t{NCCL_MINOR} << 16 | NCCL_PATCH;
    if (const auto of_libtorch = torch::cuda::nccl::version(); of_libtorch != own) {
      detail::fail("nccl_from_environment: nccl.h is of version ", NCCL_MAJOR, ".", NCCL_MINOR, ".", NCCL_PATCH,
                   ", and LibTorch was built with ", of_libtorch >> 32, ".", of_libtorch >> 16 & 0xffff, ".",
                   of_libtorch & 0xffff, "; compile with that one.");
    }
    const auto device = local_cuda_device();
    c10::cuda::set_device(device.index());
    const auto [store, marks] = detail::met(environment, options.timeout);
    auto of_backend = c10d::ProcessGroupNCCL::Options::create();
    of_backend->timeout = options.timeout;
    auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(
        c10::make_intrusive<c10d::PrefixStore>("nccl", store), static_cast<int>(environment.rank),
        static_cast<int>(environment.size), std::move(of_backend));
    return std::make_shared<detail::BackendGroup>(std::move(backend), marks, options.timeout, device);
  });
}

}  // namespace creditlib::distributed
