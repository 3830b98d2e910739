// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/detect.hpp>
#include <creditlib/normalizer/row_rms.hpp>

namespace creditlib {

namespace detail {

template <class Credit>
struct NormalizerOf {
  using type = RowRms;
};
template <NamesNormalizer Credit>
struct NormalizerOf<Credit> {
  using type = typename Credit::Normalizer;
};

}  // namespace detail

/// The normalizer that a credit rule is defined with, which a LocalTrainer uses if it is given no other: what the rule's
/// config names with `using Normalizer = Raw;`, or RowRms if it names none.
///
/// A Mix names none: the credits of its two sources have one scale.
template <class Credit>
using NaturalNormalizer = typename detail::NormalizerOf<Credit>::type;

}  // namespace creditlib
