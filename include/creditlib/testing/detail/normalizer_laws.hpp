// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>

#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/detail/shapes.hpp>
#include <creditlib/testing/report.hpp>
#include <string>
#include <utility>

/// Laws of normalizers.
namespace creditlib::detail::laws {

/// The result has the shape and dtype of the credit, which stays as it was.
template <Normalizer N>
Verdict normalizer_keeps_the_form(const N& normalizer) {
  at::manual_seed(1);
  for (const auto& shapes : {state_shapes, channel_shapes}) {
    for (const auto& shape : shapes) {
      for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
        const auto a = torch::randn(shape).to(dtype), before = a.clone();

        const torch::Tensor normalized = normalizer(a);

        if (normalized.sizes() != a.sizes()) return failed("credit " + shape_text(shape) + " gets another shape");
        if (normalized.scalar_type() != dtype) return failed("credit " + shape_text(shape) + " gets another dtype");
        if (!torch::equal(a, before)) return failed("credit " + shape_text(shape) + " is overwritten");
      }
    }
  }
  return held();
}

/// A sample's result does not depend on the others.
template <Normalizer N>
Verdict normalizer_is_per_sample(const N& normalizer) {
  at::manual_seed(2);
  for (const auto& shape : state_shapes) {
    const auto a = torch::randn(shape, torch::kFloat64);
    if (distance(part_of(normalizer(a)), normalizer(part_of(a))) > 1e-14) {
      return failed("credit " + shape_text(shape) + " depends on the rest of the batch");
    }
  }
  return held();
}

/// Factors get the numbers that the credit gets that they are.
template <Normalizer N>
Verdict normalizer_factors_agree(const N& normalizer) {
  if constexpr (!NormalizesFactors<N>) {
    return not_applicable("the normalizer does not take factors");
  } else {
    at::manual_seed(3);
    for (const auto& [features, rank] : {std::pair{40, 3}, std::pair{4, 20}}) {
      const FactoredCredit plain{torch::randn({7, rank}, torch::kFloat64),
                                 torch::randn({features, rank}, torch::kFloat64)};
      for (const auto& a : {plain, plain.scaled(torch::randn({7, 1}, torch::kFloat64))}) {
        if (distance(normalizer.factored(a).dense(), normalizer(a.dense())) > 1e-12) {
          return failed("factors of rank " + std::to_string(rank) + " are other credit");
        }
      }
    }
    return held();
  }
}

}  // namespace creditlib::detail::laws
