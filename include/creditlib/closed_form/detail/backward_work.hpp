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

  /// `action` is called once all sums that were added before it are done, on the thread that calls run(), while others
  /// go on. Sums are then done in the order of these milestones.
  void add_milestone(std::function<void()> action) { milestones_.push_back({sums_.size(), std::move(action)}); }

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
    const auto pieces = pieces_of_sums(shares);
    std::vector<std::atomic<std::int64_t>> left(milestones_.size() + 1);
    for (const auto& piece : pieces) ++left[piece.milestone];
    std::size_t reached = 0;
    const auto act = [&] {
      for (; reached < milestones_.size() && left[reached] == 0; ++reached) milestones_[reached].action();
    };
    std::atomic<std::size_t> next = 0;
    const auto take_pieces = [&](std::int64_t share) {
      for (auto i = next++; i < pieces.size(); i = next++) {
        pieces[i].sum->part(pieces[i].share);
        --left[pieces[i].milestone];
        if (share == 0) act();  // on the calling thread
      }
    };
    if (!pieces.empty()) in_shares(shares, take_pieces);
    act();
  }

 private:
  struct Sum {
    double multiplications;
    Part part;
  };
  struct Milestone {
    std::size_t sums;  ///< that were added before it
    std::function<void()> action;
  };
  struct Piece {
    std::size_t milestone;  ///< the next, for which it counts
    const Sum* sum;
    Share share;

    double size() const { return sum->multiplications / static_cast<double>(share.of); }
  };

  /// Large sums in pieces, none much larger than half of a thread's part; up to each milestone the largest first.
  std::vector<Piece> pieces_of_sums(std::int64_t shares) const {
    double all = 0;
    for (const auto& sum : sums_) all += sum.multiplications;
    std::vector<Piece> pieces;
    std::size_t milestone = 0;
    for (std::size_t k = 0; k < sums_.size(); ++k) {
      const auto& sum = sums_[k];
      while (milestone < milestones_.size() && milestones_[milestone].sums <= k) ++milestone;
      const auto parts = 2 * static_cast<double>(shares) * sum.multiplications / std::max(all, 1.0);
      const auto count = std::clamp<std::int64_t>(std::llround(parts), 1, shares);
      for (std::int64_t i = 0; i < count; ++i) pieces.push_back({milestone, &sum, {i, count}});
    }
    std::ranges::sort(pieces, {},
                      [](const Piece& p) { return std::tuple(p.milestone, -p.size(), p.sum, p.share.index); });
    return pieces;
  }

  std::vector<std::function<void()>> first_;
  std::vector<Part> rows_;
  std::vector<Sum> sums_;
  std::vector<Milestone> milestones_;
};

}  // namespace creditlib::detail
