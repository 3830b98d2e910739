// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/error.hpp>
#include <creditlib/local_trainer.hpp>
#include <exception>
#include <filesystem>
#include <functional>
#include <new>
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
