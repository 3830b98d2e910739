// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/error.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>

#include "models.hpp"
#include "test.hpp"

using namespace creditlib;
using namespace creditlib::test;

/// As LibTorch's own exceptions that are no c10::Error.
namespace torch::as_in_libtorch {
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
}  // namespace torch::as_in_libtorch

namespace {

/// Exceptions of a user's own.
struct OwnException : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct OwnError : Error {
  using Error::Error;
};

/// A rule that throws.
template <class Exception>
struct Failing {
  std::vector<torch::Tensor> credit(auto&, const Trace&) const { throw Exception("no credit today"); }
};

/// A layer for which there is not enough memory, if it is told so.
struct ShortOfMemoryImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& h) {
    TORCH_CHECK_WITH(OutOfMemoryError, device != torch::kCUDA, "CUDA out of memory. Tried to allocate 2.00 GiB.");
    TORCH_CHECK(
        device != torch::kCPU,
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4503599627370496 bytes. Error code 12 (Cannot allocate memory)");
    return h.tanh();
  }
  static inline std::optional<torch::DeviceType> device;
};

template <class Exception>
std::string translation(const Exception& exception) {
  return error_of([&] { creditlib::detail::translated([&] { throw exception; }); });
}

}  // namespace

TEST_CASE("what LibTorch throws becomes an Error, a c10::Error in its own words", "[errors]") {
  const auto wide = torch::zeros({2, 3});

  CHECK(says(error_of([&] { creditlib::detail::translated([&] { return wide.mm(wide); }); }),
             {"mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"}));
  CHECK(translation(torch::as_in_libtorch::Failure("broken")) == "torch::as_in_libtorch::Failure: broken");
}

TEST_CASE("an exception of the standard library becomes an Error behind the name of its type", "[errors]") {
  CHECK(translation(std::runtime_error("a reason")) == "std::runtime_error: a reason");
  CHECK(translation(std::out_of_range("an index")) == "std::out_of_range: an index");
  CHECK(translation(std::logic_error("nonsense")) == "std::logic_error: nonsense");
  CHECK(says(translation(std::bad_function_call()), {"std::bad_function_call: "}));
  CHECK(says(translation(std::filesystem::filesystem_error("no way in", std::error_code())),
             {"std::filesystem::", "filesystem_error: ", "no way in"}));
}

TEST_CASE("exceptions of a user's own types, Error's subclasses and std::bad_alloc pass through", "[errors]") {
  const auto nested = [] {
    try {
      throw std::runtime_error("below");
    } catch (...) {
      std::throw_with_nested(OwnException("above"));
    }
  };

  CHECK_THROWS_AS(creditlib::detail::translated([] { throw OwnException("mine"); }), OwnException);
  CHECK_THROWS_AS(creditlib::detail::translated([] { throw OwnError("mine"); }), OwnError);
  CHECK_THROWS_AS(creditlib::detail::translated([] { throw std::bad_alloc(); }), std::bad_alloc);
  CHECK_THROWS_AS(creditlib::detail::translated(nested), OwnException);
  CHECK_THROWS_AS(creditlib::detail::translated([] { throw 7; }), int);
  CHECK(translation(Error("said already")) == "said already");
}

TEST_CASE("what a rule throws: an exception of its own passes through a trainer, another becomes an Error",
          "[errors]") {
  auto model = small_model();
  const auto batch = small_batch();
  const auto before = copies(model->parameters());
  LocalTrainer own(model, Failing<OwnException>{});
  LocalTrainer standard(model, Failing<std::out_of_range>{});

  CHECK_THROWS_AS(own.step(batch.x, batch.y), OwnException);
  CHECK_THROWS_AS(own.credits(batch.x, batch.y), OwnException);
  CHECK_THROWS_AS(own.gradients(batch.x, batch.y), OwnException);
  CHECK(error_of([&] { standard.step(batch.x, batch.y); }) == "std::out_of_range: no credit today");
  CHECK(same(before, copies(model->parameters())));
}

TEST_CASE("memory that runs out is a c10::OutOfMemoryError, and changes nothing", "[errors]") {
  auto model = SequentialBlocks({.blocks = {torch::nn::Sequential(torch::nn::Linear(6, 5), torch::nn::BatchNorm1d(5)),
                                            std::make_shared<ShortOfMemoryImpl>()},
                                 .readout = torch::nn::Linear(5, 4),
                                 .example = torch::zeros({1, 6})});
  const auto batch = small_batch();
  const auto before = copies(model->parameters()), statistics = copies(model->buffers());
  LocalTrainer local(model, DFA{});
  BackpropTrainer back(model);
  for (const auto device : {torch::kCUDA, torch::kCPU}) {
    ShortOfMemoryImpl::device = device;
    const std::string text = device == torch::kCUDA ? "CUDA out of memory" : "can't allocate memory";
    const auto runs_out = [&](const auto& action) {
      CHECK_THROWS_AS(action(), c10::OutOfMemoryError);
      try {
        action();
      } catch (const c10::Error& error) {
        CHECK(std::string(error.what_without_backtrace()).find(text) != std::string::npos);
      }
    };
    runs_out([&] { local.step(batch.x, batch.y); });
    runs_out([&] { local.backward(batch.x, batch.y); });
    runs_out([&] { local.credits(batch.x, batch.y); });
    runs_out([&] { back.step(batch.x, batch.y); });
    auto options = model->options();
    options.example = torch::zeros({1, 6});
    runs_out([&] { SequentialBlocks{options}; });
    CHECK(local.steps() == 0);
    CHECK(same(copies(model->parameters()), before));
    CHECK(same(copies(model->buffers()), statistics));
    ShortOfMemoryImpl::device.reset();
  }
  local.step(batch.x, batch.y);  // a smaller batch, say
  CHECK(local.steps() == 1);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose allocators end the program
TEST_CASE("LibTorch's own words for memory of the CPU that runs out are known", "[errors]") {
  CHECK_THROWS_AS(creditlib::detail::translated([] { torch::empty({std::int64_t{1} << 50}); }), c10::OutOfMemoryError);
}
#endif

TEST_CASE("an observer's own exception passes through a step, which is done", "[errors]") {
  auto model = small_model();
  const auto batch = small_batch();
  const auto stop = [](auto&, const torch::Tensor&, const torch::Tensor&) { throw OwnException("enough"); };
  LocalTrainer local(model, DFA{});
  BackpropTrainer back(model);
  local.observe(1, stop);
  back.observe(1, stop);

  CHECK_THROWS_AS(local.step(batch.x, batch.y), OwnException);
  CHECK_THROWS_AS(back.step(batch.x, batch.y), OwnException);
  CHECK(local.steps() == 1);
  CHECK(back.steps() == 1);
}
