#pragma once

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <stdexcept>
#include <utility>

namespace creditlib {

/// What every failure of the library throws. The message is one sentence: what was expected, what was got, what to do.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {

/// Throws Error with the parts streamed one after the other.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(c10::str(parts...));
}

/// Runs `action`; what LibTorch throws in it (c10::Error) comes out as Error, without the backtrace.
template <class Action>
decltype(auto) translated(Action&& action) {
  try {
    return std::forward<Action>(action)();
  } catch (const c10::Error& error) {
    throw Error(error.what_without_backtrace());
  }
}

}  // namespace detail
}  // namespace creditlib
