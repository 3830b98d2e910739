#pragma once

#include <algorithm>
#include <creditlib/cuda/graph_options.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// Decides for each step whether it runs eagerly, is captured, or is the replay of a captured one. It knows nothing of
/// CUDA.
///
/// Steps of one kind (the shape of the batch) are alike. The first `warm_up` of them run eagerly, then one is captured
/// and replayed, and all that follow are replays. What a graph has taken for constant is told with each step; once that
/// changes, all graphs are thrown away and every kind starts anew.
template <class Kind, class Graph>
class GraphCache {
 public:
  explicit GraphCache(const cuda::GraphOptions& options) : options_(options) {
    if (options.warm_up < 1) fail("GraphOptions: warm_up is ", options.warm_up, ", expected at least 1.");
    if (options.graphs < 1) fail("GraphOptions: graphs is ", options.graphs, ", expected at least 1.");
  }

  /// One step, by exactly one of `eager()` and `replay(Graph&)`, which return the same type; before the first replay of
  /// a kind `capture()` gives the std::unique_ptr<Graph>. Where one of them throws, the step does not count.
  template <class Eager, class Capture, class Replay>
  auto step(const Kind& kind, const std::vector<std::uint64_t>& constants, const Eager& eager, const Capture& capture,
            const Replay& replay) {
    if (constants != constants_) {
      known_.clear();
      constants_ = constants;
    }
    auto found = std::find_if(known_.begin(), known_.end(), [&](const Known& known) { return known.kind == kind; });
    if (found == known_.end() || found->warmed_up < options_.warm_up) {
      auto result = eager();
      auto& known = found == known_.end() ? remember(kind) : *found;
      ++known.warmed_up;
      known.last_used = ++steps_;
      return result;
    }
    if (!found->graph) {
      found->graph = capture();
      ++captures_;
    }
    auto result = replay(*found->graph);
    found->last_used = ++steps_;
    return result;
  }

  /// How many graphs there are now, and how many were captured so far.
  std::int64_t graphs() const {
    return std::count_if(known_.begin(), known_.end(), [](const Known& known) { return known.graph != nullptr; });
  }
  std::int64_t captures() const { return captures_; }

 private:
  struct Known {
    Kind kind;
    std::int64_t warmed_up = 0;
    std::int64_t last_used = 0;
    std::unique_ptr<Graph> graph = nullptr;
  };

  Known& remember(const Kind& kind) {
    if (known_.size() == static_cast<std::size_t>(options_.graphs)) {
      known_.erase(std::min_element(known_.begin(), known_.end(),
                                    [](const Known& a, const Known& b) { return a.last_used < b.last_used; }));
    }
    known_.push_back({kind});
    return known_.back();
  }

  cuda::GraphOptions options_;
  std::vector<Known> known_;
  std::vector<std::uint64_t> constants_;
  std::int64_t steps_ = 0, captures_ = 0;
};

}  // namespace creditlib::detail
