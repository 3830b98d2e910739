// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/Event.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <creditlib/error.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace creditlib::detail {

/// Runs and captures steps on its own stream. cuBLAS has a workspace for each stream, which newer LibTorch frees with a
/// graph that was captured there, so no two graphs are captured on one.
class CapturingStream {
 public:
  using Pool = std::shared_ptr<at::cuda::MempoolId_t>;
  /// The pool of the graphs that exist, among lanes.
  using SharedPool = std::shared_ptr<std::weak_ptr<at::cuda::MempoolId_t>>;

  class Graph {
   public:
    explicit Graph(Pool pool)
        : pool_(std::move(pool)), graph_(std::make_unique<at::cuda::CUDAGraph>(/*keep_graph=*/true)) {}

    /// Replays on the current stream.
    void replay() { graph_->replay(); }
    /// Kernels and copies.
    std::int64_t nodes() const { return nodes_; }

   private:
    friend class CapturingStream;

    void finish() {
      graph_->capture_end();
      std::size_t count = 0;
      C10_CUDA_CHECK(cudaGraphGetNodes(graph_->raw_cuda_graph(), nullptr, &count));
      nodes_ = static_cast<std::int64_t>(count);
      graph_->instantiate();
    }

    /// Ends a capture during which something was thrown.
    void abandon(c10::DeviceIndex device) noexcept {
      try {
        graph_->capture_end();
      } catch (const std::exception&) {
        try {
          c10::cuda::CUDACachingAllocator::endAllocateToPool(device, *pool_);
          at::getHostAllocator(at::kCUDA)->end_allocate_to_pool(*pool_);
        } catch (const std::exception&) {
        }
        static_cast<void>(graph_.release());  // LibTorch's allocators may have kept a pointer to it
      }
    }

    Pool pool_;
    std::unique_ptr<at::cuda::CUDAGraph> graph_;
    std::int64_t nodes_ = 0;
  };

  CapturingStream(torch::Device device, SharedPool pool)
      : stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())), pool_(std::move(pool)) {}

  template <class Action>
  auto eagerly(const Action& action) {
    const Switched switched(stream_);
    return action();
  }

  template <class Action>
  std::unique_ptr<Graph> capture(const Action& action) {
    const Switched switched(stream_);
    c10::cuda::device_synchronize();
    auto graph = std::make_unique<Graph>(pool());
    try {
      translated([&] {
        // Other threads of the program, such as a data loader, may continue to use CUDA.
        graph->graph_->capture_begin(*graph->pool_, cudaStreamCaptureModeThreadLocal);
        action();
        graph->finish();
      });
    } catch (const Error& error) {
      graph->abandon(stream_.device_index());
      fail(
          "cuda::GraphedStep: the step cannot be captured in a CUDA graph, since something in it waits for the device "
          "or moves data ",
          "between host and device; use trainer.step. (", first_line(error.what()), ")");
    } catch (...) {
      graph->abandon(stream_.device_index());
      throw;
    }
    return graph;
  }

 private:
  /// While in scope, makes the capturing stream the current one. Its work starts after everything queued before; the
  /// previous stream waits for it afterwards.
  class Switched {
   public:
    explicit Switched(c10::cuda::CUDAStream stream)
        : stream_(stream), before_(c10::cuda::getCurrentCUDAStream(stream.device_index())) {
      wait(stream_, before_);
      guard_.emplace(stream_.unwrap());
    }
    ~Switched() {
      guard_.reset();
      try {
        wait(before_, stream_);
      } catch (const std::exception&) {  // the device is lost; the next call reports it
      }
    }
    Switched(const Switched&) = delete;
    Switched& operator=(const Switched&) = delete;

   private:
    static void wait(c10::cuda::CUDAStream later, c10::cuda::CUDAStream earlier) {
      c10::Event event(c10::DeviceType::CUDA);
      event.record(earlier.unwrap());
      event.block(later.unwrap());
    }

    c10::cuda::CUDAStream stream_, before_;
    std::optional<c10::cuda::CUDAStreamGuard> guard_;
  };

  /// The pool of the existing graphs, or a new one.
  Pool pool() {
    auto pool = pool_->lock();
    if (!pool) *pool_ = pool = std::make_shared<at::cuda::MempoolId_t>(at::cuda::graph_pool_handle());
    return pool;
  }

  static std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

  c10::cuda::CUDAStream stream_;
  SharedPool pool_;
};

/// A device as cuda::GraphedStep uses it: a stream for each batch shape, and a private memory pool that all graphs share
/// that exist at the same time.
class CapturingDevice {
 public:
  using Graph = CapturingStream::Graph;
  using Lane = CapturingStream;

  explicit CapturingDevice(torch::Device device) : device_(device) {}
  Lane lane() const { return {device_, pool_}; }

 private:
  torch::Device device_;
  CapturingStream::SharedPool pool_ = std::make_shared<CapturingStream::SharedPool::element_type>();
};

/// The device of a trainer's model. Throws Error unless it is a CUDA device.
template <class Trainer>
torch::Device cuda_device(const Trainer& trainer) {
  const auto device = trainer.model()->parameters().at(0).device();
  if (!device.is_cuda())
    fail("cuda::GraphedStep: the model is on ", device, ", expected a CUDA device; use trainer.step elsewhere.");
  return device;
}

}  // namespace creditlib::detail
