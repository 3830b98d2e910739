// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <c10/util/Type.h>

#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

namespace creditlib {

/// The exception that every failure of the library throws. Its message is one sentence: what was expected, what was
/// found, what to do.
///
/// Exceptions that LibTorch throws inside the library are translated into it. What passes through unchanged:
/// - your own exception types, thrown by a rule, a model or an observer;
/// - c10::OutOfMemoryError, if memory for tensors runs out, on the CPU as on CUDA, and std::bad_alloc.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {

/// Throws Error with the concatenated parts as its message.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(c10::str(parts...));
}

/// Whether an exception of this type comes from the standard library, LibTorch or a library that LibTorch calls, judged
/// by the type's namespace; otherwise it is a user's type. (A template such as std::_Nested_exception<Own> is both, and
/// counts as the user's.)
inline bool is_of_libtorch(std::string_view type) {
  if (type.find('<') != std::string_view::npos) return false;
  for (const std::string_view space : {"std::", "c10::", "at::", "torch::", "caffe2::", "dnnl::", "thrust::"}) {
    if (type.starts_with(space)) return true;
  }
  return false;
}

/// Whether memory for a tensor ran out. LibTorch says so by the exception's type on CUDA, by its text on the CPU.
inline bool is_out_of_memory(const c10::Error& error) {
  return dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
         std::string_view(error.what_without_backtrace()).find("CPUAllocator: can't allocate memory") !=
             std::string_view::npos;
}

/// Runs `action` and translates LibTorch's exceptions into Error: a c10::Error without its backtrace, another exception
/// (LibTorch throws std::runtime_error, std::out_of_range and dnnl::error in places) prefixed with the name of its
/// type. Error and its subclasses, std::bad_alloc and users' exception types pass through unchanged. If memory for a
/// tensor ran out it is a c10::OutOfMemoryError. What is translated begins with where(), a text.
template <class Action, class Where>
decltype(auto) translated(Action&& action, const Where& where) {
  try {
    return std::forward<Action>(action)();
  } catch (const Error&) {
    throw;
  } catch (const c10::OutOfMemoryError&) {
    throw;
  } catch (const c10::Error& error) {
    if (is_out_of_memory(error)) TORCH_CHECK_WITH(OutOfMemoryError, false, error.what_without_backtrace());
    throw Error(c10::str(where(), error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    const std::string type = c10::demangle(typeid(error).name());
    if (!is_of_libtorch(type)) throw;
    throw Error(c10::str(where(), type, ": ", error.what()));
  }
}
template <class Action>
decltype(auto) translated(Action&& action) {
  return translated(std::forward<Action>(action), [] { return ""; });
}

/// For use in a catch block: rethrows the caught exception as translated() would.
[[noreturn]] inline void rethrow_translated() {
  translated([] { throw; });
  throw;  // not reached
}

}  // namespace detail
}  // namespace creditlib
