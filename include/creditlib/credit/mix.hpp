// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

namespace creditlib {

template <class First, class Second>
struct Mix;

namespace detail {
template <class T>
inline constexpr bool is_mix = false;
template <class A, class B>
inline constexpr bool is_mix<Mix<A, B>> = true;
}  // namespace detail

/// Two credit sources under one schedule (SwitchAt, Blend, Warmup, or a custom one).
///
/// - Both weights nonzero: the credit is the weighted sum of the two credits, each first divided by its own RMS
///   (RowRms{}).
/// - One weight zero: the credit is the other source's alone, and the unused source is not evaluated.
/// - The sources' own normalizers are not asked: a trainer without a normalizer has RowRms, so that the credit has one
///   scale whichever source gives it.
/// - Each source has its own generator; the first source draws the numbers that it would draw alone.
/// - A trainer's state() has both states: `.first` and `.second`.
/// - Shapes, costs and run-time errors are the sources' own. A Mix in a Mix, a schedule for one source, and two sources
///   with local_inputs are compile-time errors.
template <class First, class Second>
struct Mix {
  static_assert(
      !detail::is_mix<First> && !detail::is_mix<Second>,
      "creditlib: a Mix holds two credit sources, not another Mix; write one source whose credit() combines them");
  First first = {};
  Second second = {};
};

}  // namespace creditlib
