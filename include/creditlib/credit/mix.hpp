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

/// Two credit sources under one schedule (SwitchAt, Blend, Warmup, or one of your own).
///
/// Where both weights differ from 0 the credit is the sum of weight times credit, each normalised by its own RMS
/// (RowRms{}); where one is 0 it is the other source's alone, and the unused source is not evaluated. Each source draws
/// from a generator of its own; the first draws as it would alone. A trainer's state() has both: `.first`, `.second`.
/// Shapes, costs and run-time errors are the sources' own; a Mix in a Mix, a schedule for one source and two sources
/// with local_inputs are errors at compile time. Source: the blends and switches of the schedule-timing script.
template <class First, class Second>
struct Mix {
  static_assert(
      !detail::is_mix<First> && !detail::is_mix<Second>,
      "creditlib: a Mix holds two credit sources, not another Mix; write one source whose credit() combines them");
  First first = {};
  Second second = {};
};

}  // namespace creditlib
