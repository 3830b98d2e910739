// SPDX-License-Identifier: Apache-2.0
#include "support/products.hpp"

namespace bench {
namespace {

std::string nth(const char* name, std::int64_t l) { return name + std::to_string(l); }

}  // namespace

// Names: x the batch, e the error, z what a linear layer w1 takes (normalised), u what w2 takes, g the gradient in a
// block's output, dp that in w1's output, B feedback of dfa, F that of fa, n the normalised factor of credit.
Products::Products(const Settings& s) : blocks_(s.blocks) {
  const std::int64_t input = 3072;
  sizes_ = {
      {"x", {s.batch, input}}, {"W0", {s.width, input}}, {"e", {s.batch, s.classes}}, {"V", {s.classes, s.width}}};
  for (std::int64_t l = 0; l <= blocks_; ++l) {
    for (const char* name : {"z", "u", "g", "dp"}) sizes_[nth(name, l)] = {s.batch, s.width};
    for (const char* name : {"W1.", "W2.", "F"}) sizes_[nth(name, l)] = {s.width, s.width};
    sizes_[nth("B", l)] = {s.width, s.classes};
    sizes_[nth("n", l)] = {s.batch, s.classes};
  }
}

std::pair<std::int64_t, std::int64_t> Products::size_of(const std::string& operand) const {
  if (operand.back() != '\'') return sizes_.at(operand);
  const auto [rows, columns] = sizes_.at(operand.substr(0, operand.size() - 1));
  return {columns, rows};
}

void Products::add(const std::string& out, const std::string& left, const std::string& right) {
  sizes_[out] = {size_of(left).first, size_of(right).second};
  list_.push_back({out, left, right});
}

void Products::forward() {
  add("h0", "x", "W0'");
  for (std::int64_t l = 0; l < blocks_; ++l) {
    add(nth("p", l), nth("z", l), nth("W1.", l) + "'");
    add(nth("f", l), nth("u", l), nth("W2.", l) + "'");
  }
  add("logits", nth("z", blocks_), "V'");
}

void Products::readout_weight() { add("dV", "e'", nth("z", blocks_)); }

void Products::dense_block(std::int64_t l, bool down_to_norm) {
  add(nth("dW2.", l), nth("g", l + 1) + "'", nth("u", l));
  add(nth("du", l), nth("g", l + 1), nth("W2.", l));
  add(nth("dW1.", l), nth("dp", l) + "'", nth("z", l));
  if (down_to_norm) add(nth("dz", l), nth("dp", l), nth("W1.", l));
}

void Products::factored_block(std::int64_t l) {
  const auto n = nth("n", l + 1), B = nth("B", l + 1);
  add(nth("eu", l), n + "'", nth("u", l));
  add(nth("dW2.", l), B, nth("eu", l));
  add(nth("BW", l), B + "'", nth("W2.", l));
  add(nth("du", l), n, nth("BW", l));
  add(nth("dW1.", l), nth("dp", l) + "'", nth("z", l));
}

Products Products::of(const Settings& s) {
  Products p(s);
  if (s.model != "resmlp") return p;
  const std::int64_t L = s.blocks;
  if (s.rule == "bp" || s.rule == "fa" || s.rule == "oracle") {
    p.forward();
    p.readout_weight();
    p.add(nth("g", L), "e", "V");
    for (std::int64_t l = L; l-- > 0;) {
      if (s.rule == "fa") p.add(nth("a", l), nth("g", l + 1), nth("F", l));
      if (s.rule == "oracle") {
        p.add(nth("pulled_u", l), nth("g", l + 1), nth("W2.", l));
        p.add(nth("pulled_z", l), nth("dp", l), nth("W1.", l));
      }
      p.dense_block(l, s.rule == "bp");
    }
    p.add("dW0", "g0'", "x");
  } else if (s.rule == "dfa" || s.rule == "dfa_dense") {
    // As FactoredCredit::saves_work decides it; the rows' norms of what it keeps come from Gram matrices.
    const bool factored = s.rule == "dfa" && 4 * s.classes * (s.batch + s.width) <= 3 * s.batch * s.width;
    p.forward();
    p.readout_weight();
    for (std::int64_t l = 0; l <= L; ++l) {
      if (!factored) {
        p.add(nth("a", l), "e", nth("B", l) + "'");
      } else {
        p.add(nth("gram", l), nth("B", l) + "'", nth("B", l));
        p.add(nth("eG", l), "e", nth("gram", l));
      }
    }
    for (std::int64_t l = 0; l < L; ++l) {
      if (factored) {
        p.factored_block(l);
      } else {
        p.dense_block(l, /*down_to_norm=*/false);
      }
    }
    if (factored) {
      p.add("ex", "n0'", "x");
      p.add("dW0", "B0", "ex");
    } else {
      p.add("dW0", "g0'", "x");
    }
  }
  return p;
}

}  // namespace bench
