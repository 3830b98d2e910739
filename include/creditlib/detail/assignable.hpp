// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace creditlib::detail {

/// Holds a T that may be constructible but not assignable, as a lambda with captures is, and is assignable itself.
template <class T>
class Assignable {
 public:
  Assignable(T value) : value_(std::in_place, std::move(value)) {}
  Assignable(const Assignable&) = default;
  Assignable(Assignable&&) = default;
  ~Assignable() = default;
  Assignable& operator=(Assignable other) noexcept(std::is_nothrow_move_constructible_v<T>) {
    value_.reset();
    value_.emplace(std::move(*other.value_));
    return *this;
  }

  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return std::addressof(*value_); }
  const T* operator->() const { return std::addressof(*value_); }

 private:
  std::optional<T> value_;
};

}  // namespace creditlib::detail
