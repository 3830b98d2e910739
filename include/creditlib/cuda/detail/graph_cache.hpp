// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <creditlib/cuda/graph_options.hpp>
#include <creditlib/detail/expect.hpp>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// Decides for each step whether it runs eagerly, is captured, or replays a captured step. Independent of CUDA.
///
/// Steps of the same kind (batch shape) are alike. The first `warm_up` of them run eagerly, then one is captured and
/// replayed, and all later ones are replays. Each step is given the values that a graph treats as constants; if they
/// change, all graphs are discarded and every kind warms up anew.
///
/// Each kind has a Lane of its own, on which its eager steps and its capture run; a kind that is given up for another
/// leaves it to that one.
template <class Kind, class Graph, class Lane>
class GraphCache {
 public:
  explicit GraphCache(const cuda::GraphOptions& options) : options_(options) {
    expect::at_least("GraphOptions", "warm_up", options.warm_up, 1);
    expect::at_least("GraphOptions", "graphs", options.graphs, 1);
  }

  /// Performs one step by exactly one of `eager(Lane&)` and `replay(Graph&)`, which return the same type. Before the
  /// first replay of a kind `capture(Lane&)` returns the std::unique_ptr<Graph>, and before its first step `lane()` its
  /// Lane. If one of them throws, the step does not count.
  template <class NewLane, class Eager, class Capture, class Replay>
  auto step(const Kind& kind, const std::vector<std::uint64_t>& constants, const NewLane& lane, const Eager& eager,
            const Capture& capture, const Replay& replay) {
    if (constants != constants_) {
      for (auto& known : known_) {
        known.graph.reset();
        known.warmed_up = 0;
      }
      constants_ = constants;
    }
    auto found = std::find_if(known_.begin(), known_.end(), [&](const Known& known) { return known.kind == kind; });
    if (found == known_.end()) {
      const bool full = known_.size() == static_cast<std::size_t>(options_.graphs);
      Known met{kind, full ? oldest()->lane : lane()};
      auto result = eager(met.lane);
      met.warmed_up = 1;
      met.last_used = ++steps_;
      if (full) known_.erase(oldest());
      known_.push_back(std::move(met));
      return result;
    }
    if (found->warmed_up < options_.warm_up) {
      auto result = eager(found->lane);
      ++found->warmed_up;
      found->last_used = ++steps_;
      return result;
    }
    if (!found->graph) {
      found->graph = capture(found->lane);
      ++captures_;
    }
    auto result = replay(*found->graph);
    found->last_used = ++steps_;
    return result;
  }

  /// The number of graphs at present, and the number captured so far.
  std::int64_t graphs() const {
    return std::count_if(known_.begin(), known_.end(), [](const Known& known) { return known.graph != nullptr; });
  }
  std::int64_t captures() const { return captures_; }

 private:
  struct Known {
    Kind kind;
    Lane lane;
    std::int64_t warmed_up = 0;
    std::int64_t last_used = 0;
    std::unique_ptr<Graph> graph = nullptr;
  };

  auto oldest() {
    return std::min_element(known_.begin(), known_.end(),
                            [](const Known& a, const Known& b) { return a.last_used < b.last_used; });
  }

  cuda::GraphOptions options_;
  std::vector<Known> known_;
  std::vector<std::uint64_t> constants_;
  std::int64_t steps_ = 0, captures_ = 0;
};

}  // namespace creditlib::detail
