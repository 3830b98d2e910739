// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/shape.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace creditlib::detail {

/// What a model has said of the layouts of its hidden states.
class Layouts {
 public:
  void set(HiddenLayout layout) { of_all_ = layout; }
  void set(std::int64_t l, HiddenLayout layout) { of_one_.insert_or_assign(l, layout); }

  bool is_said(std::int64_t l) const { return of_all_ || of_one_.contains(l); }
  /// The layout of h_l, which has this shape without the batch.
  HiddenLayout of(std::int64_t l, const std::vector<std::int64_t>& shape) const {
    const auto found = of_one_.find(l);
    if (found != of_one_.end()) return found->second;
    return of_all_.value_or(usual_layout(shape));
  }

  /// Throws Error, beginning with `whose`, for h_l of (C, T) or (N, d), which look the same, if nothing is said of it;
  /// `how` says how it is.
  void check_said(std::int64_t l, const std::vector<std::int64_t>& shape, const std::string& whose,
                  const std::string& how) const {
    if (shape.size() != 2 || is_said(l)) return;
    auto sizes = shape;
    sizes.insert(sizes.begin(), 1);
    fail(whose, ": h_", l, " is ", shape_text(sizes),
         " for one sample, and its features may be in the first dimension after the batch, (B, C, T), or in the last, "
         "(B, N, d): ",
         how, ".");
  }

 private:
  std::optional<HiddenLayout> of_all_;
  std::map<std::int64_t, HiddenLayout> of_one_;
};

/// The shape with -1 for the number of positions, of which every dimension but that of features has one.
inline std::vector<std::int64_t> with_any_positions(std::vector<std::int64_t> shape, HiddenLayout layout) {
  const auto features = layout == HiddenLayout::FeaturesFirst ? 0 : shape.size() - 1;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (d != features) shape[d] = -1;
  }
  return shape;
}

}  // namespace creditlib::detail
