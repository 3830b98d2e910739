// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>

#include <algorithm>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/detail/law.hpp>
#include <creditlib/testing/detail/snapshot.hpp>
#include <creditlib/testing/detail/step_laws.hpp>
#include <string>
#include <tuple>

/// Laws of float32 and float64.
namespace creditlib::detail::laws {

/// A source that is bound to a float64 model gets the random numbers of one that is bound to a float32 model.
inline Verdict same_state_in_float64(const Subject& subject) {
  const auto single = snapshot(*subject.make({})), twice = snapshot(*subject.make({.dtype = torch::kFloat64}));

  for (const auto& [name, tensor] : single) {
    if (!of_the_source(name)) continue;
    if (!torch::equal(tensor, twice.at(name).to(tensor.scalar_type()))) return failed(name + " is another in float64");
  }
  return held();
}

/// How far raw credits in float32 are from those in float64.
inline double between_dtypes(const Subject& subject) {
  const auto a = subject.make({})->raw_credits(subject.batch());
  const auto b = subject.make({.dtype = torch::kFloat64})->raw_credits(subject.batch(torch::kFloat64));
  return distance(a, b);
}

/// So does one that draws when it is asked for credit: other numbers would be another credit altogether.
inline Verdict same_draws_in_float64(const Subject& subject) {
  return between_dtypes(subject) < 1e-2 ? held() : failed("credits in float64 are others");
}

/// In float32 the paths agree as far as float32 leaves digits of the rule's credit: of a difference between two states
/// that are all but the same it leaves few.
inline Verdict paths_agree_in_float32(const Subject& subject) {
  return paths_agree(subject, torch::kFloat32, std::max(1e-5, 10 * between_dtypes(subject)));
}

/// Whole numbers count something: any dtype does.
inline bool are_whole(const torch::Tensor& numbers) { return torch::equal(numbers, numbers.round()); }

/// Whether numbers that moved, moved in float32's steps. Two numbers may be signs.
inline bool moved_in_float32(const torch::Tensor& before, const torch::Tensor& after) {
  const auto moved = after.masked_select(after.ne(before));
  if (are_whole(moved)) return false;
  const bool several = std::get<0>(at::_unique(moved.abs())).numel() > 2;
  return several && torch::equal(moved, moved.to(torch::kFloat32).to(torch::kFloat64));
}

/// In a float64 model credit is not computed in float32, nor what a rule keeps: credit moves with the input, and state
/// with a step, by less than float32's steps.
inline Verdict float64_has_its_digits(const Subject& subject) {
  const auto batch = subject.batch(torch::kFloat64);
  const auto credits = [&](double factor) {
    const auto trainer = subject.make({.dtype = torch::kFloat64});
    at::manual_seed(5);
    return trainer->raw_credits({batch.x * factor, batch.y});
  };
  if (batch.x.is_floating_point()) {
    const auto here = credits(1), nearby = credits(1 + 1e-3);
    for (std::size_t l = 0; l < here.size(); ++l) {
      if (here[l].defined() && moved_in_float32(nearby[l], here[l]))
        return failed("credit " + std::to_string(l) + " is rounded to float32");
    }
  }

  const auto trainer = subject.make({.dtype = torch::kFloat64});
  const auto before = snapshot(*trainer);
  trainer->step(batch);
  for (const auto& [name, tensor] : snapshot(*trainer)) {
    if (!of_the_source(name) || !tensor.is_floating_point() || are_whole(tensor)) continue;
    if (tensor.scalar_type() == torch::kFloat32) return failed(name + " is float32 in a float64 model");
    if (moved_in_float32(before.at(name), tensor)) return failed(name + " is rounded to float32");
  }
  return held();
}

}  // namespace creditlib::detail::laws
