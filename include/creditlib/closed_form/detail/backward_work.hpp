// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <creditlib/closed_form/detail/share.hpp>
#include <creditlib/detail/team.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// The work of a backward pass by formula, sorted by how threads can share it:
///
/// - small products that all rows need, independent of each other;
/// - gradients in layers' inputs: each thread takes some of the rows through all layers;
/// - then gradients of parameters, which are sums over rows: they are independent of each other, and the columns of one
///   are too.
class BackwardWork {
 public:
  using Part = std::function<void(const Share&)>;

  /// Work that rows wait for.
  void add_first(std::function<void()> part) { first_.push_back(std::move(part)); }
  /// Work on a share of the rows. On each share it runs in the order in which it is added.
  void add_rows(Part part) { rows_.push_back(std::move(part)); }
  /// Work on a share of a parameter gradient's columns that needs all rows of what add_rows gives; `multiplications` is
  /// how much it is.
  void add_sum(double multiplications, Part part) { sums_.push_back({multiplications, std::move(part)}); }

  /// Does all of it, on as many threads as there are shares. The same number of them gives the same bits.
  void run(std::int64_t shares) {
    if (!first_.empty()) {
      const auto count = static_cast<std::int64_t>(first_.size());
      in_shares(std::min(shares, count), [&](std::int64_t i) {
        for (auto part = i; part < count; part += shares) first_[static_cast<std::size_t>(part)]();
      });
    }
    if (!rows_.empty()) {
      in_shares(shares, [&](std::int64_t i) {
        for (const auto& part : rows_) part({i, shares});
      });
    }
    if (sums_.empty()) return;
    const auto pieces = pieces_of_sums(shares);
    std::atomic<std::size_t> next = 0;
    in_shares(shares, [&](std::int64_t) {
      for (auto i = next++; i < pieces.size(); i = next++) pieces[i].sum->part(pieces[i].share);
    });
  }

 private:
  struct Sum {
    double multiplications;
    Part part;
  };
  struct Piece {
    const Sum* sum;
    Share share;

    double size() const { return sum->multiplications / static_cast<double>(share.of); }
  };

  /// Large sums in pieces, none much larger than half of a thread's part; the largest first.
  std::vector<Piece> pieces_of_sums(std::int64_t shares) const {
    double all = 0;
    for (const auto& sum : sums_) all += sum.multiplications;
    std::vector<Piece> pieces;
    for (const auto& sum : sums_) {
      const auto parts = 2 * static_cast<double>(shares) * sum.multiplications / std::max(all, 1.0);
      const auto count = std::clamp<std::int64_t>(std::llround(parts), 1, shares);
      for (std::int64_t i = 0; i < count; ++i) pieces.push_back({&sum, {i, count}});
    }
    std::ranges::sort(pieces, {}, [](const Piece& p) { return std::tuple(-p.size(), p.sum, p.share.index); });
    return pieces;
  }

  std::vector<std::function<void()>> first_;
  std::vector<Part> rows_;
  std::vector<Sum> sums_;
};

}  // namespace creditlib::detail
