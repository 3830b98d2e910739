// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

// Detects whether a class has a member of a given name, whatever its type, overloads or template parameters: in a class
// that inherits both from it and from a class with that name, the name is ambiguous. (This does not work for a final
// class, of which only members with the right signature are found.)
#define CREDITLIB_DETECT_MEMBER(member)                                     \
  namespace creditlib::detail {                                             \
  struct Has_##member {                                                     \
    int member;                                                             \
  };                                                                        \
  template <class T>                                                        \
  struct Both_##member : T, Has_##member {};                                \
  template <class T, bool = std::is_class_v<T> && !std::is_final_v<T>>      \
  struct Names_##member {                                                   \
    static constexpr bool value = false;                                    \
  };                                                                        \
  template <class T>                                                        \
  struct Names_##member<T, true> {                                          \
    static constexpr bool value = !requires { &Both_##member<T>::member; }; \
  };                                                                        \
  template <class T>                                                        \
  inline constexpr bool names_##member = Names_##member<T>::value;          \
  }

CREDITLIB_DETECT_MEMBER(bind)
CREDITLIB_DETECT_MEMBER(learn)
CREDITLIB_DETECT_MEMBER(after_step)
CREDITLIB_DETECT_MEMBER(local_inputs)
CREDITLIB_DETECT_MEMBER(transport)
CREDITLIB_DETECT_MEMBER(reads)
CREDITLIB_DETECT_MEMBER(named_tensors)
CREDITLIB_DETECT_MEMBER(tensors_of)
CREDITLIB_DETECT_MEMBER(wants_pullback)
CREDITLIB_DETECT_MEMBER(wants_pushforward)
CREDITLIB_DETECT_MEMBER(reads_error_only)
CREDITLIB_DETECT_MEMBER(couples_samples)
CREDITLIB_DETECT_MEMBER(data_parallel)
CREDITLIB_DETECT_MEMBER(block_parallel)
CREDITLIB_DETECT_MEMBER(Normalizer)
CREDITLIB_DETECT_MEMBER(output_gradient)
CREDITLIB_DETECT_MEMBER(embed_loss)
CREDITLIB_DETECT_MEMBER(learns)
CREDITLIB_DETECT_MEMBER(correct)
CREDITLIB_DETECT_MEMBER(in_range)
CREDITLIB_DETECT_MEMBER(factored_credit)
CREDITLIB_DETECT_MEMBER(factored)
CREDITLIB_DETECT_MEMBER(multiple_of_credit)
CREDITLIB_DETECT_MEMBER(closed_form)
CREDITLIB_DETECT_MEMBER(weights)
CREDITLIB_DETECT_MEMBER(error)
CREDITLIB_DETECT_MEMBER(report)
CREDITLIB_DETECT_MEMBER(check)

#undef CREDITLIB_DETECT_MEMBER
