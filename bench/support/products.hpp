// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/settings.hpp"

namespace bench {

/// out = left right, matrices by name; an apostrophe behind a name stands for its transpose.
struct Product {
  std::string out, left, right;
};

/// The matrix products of a training step by formula on the residual MLP, in their order.
class Products {
 public:
  /// Of rule bp, dfa (credit kept as factors where that pays), dfa_dense, fa or oracle. None for other rules and
  /// networks.
  static Products of(const Settings& settings);

  const std::vector<Product>& list() const { return list_; }
  /// Rows and columns of every matrix, outputs included.
  const std::map<std::string, std::pair<std::int64_t, std::int64_t>>& sizes() const { return sizes_; }

 private:
  explicit Products(const Settings& settings);

  void add(const std::string& out, const std::string& left, const std::string& right);
  void forward();
  void readout_weight();
  /// Gradients inside block l from the one in its output; with `down_to_norm` also that in the layer norm's output.
  void dense_block(std::int64_t l, bool down_to_norm);
  void factored_block(std::int64_t l);
  std::pair<std::int64_t, std::int64_t> size_of(const std::string& operand) const;

  std::int64_t blocks_;
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> sizes_;
  std::vector<Product> list_;
};

}  // namespace bench
