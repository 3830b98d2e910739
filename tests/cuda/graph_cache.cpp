// SPDX-License-Identifier: Apache-2.0
#include <creditlib/cuda/detail/graph_cache.hpp>
#include <memory>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// The number of the capture that made it.
struct FakeGraph {
  int number;
};

/// Steps of kinds that are letters; each leaves a word: "eager", or the number of the graph that was replayed.
class Steps {
 public:
  explicit Steps(const cuda::GraphOptions& options = {}) : cache(options) {}

  std::string step(char kind, std::vector<std::uint64_t> constants = {1}) {
    return cache.step(
        kind, constants, [&] { return ++lanes; },
        [&](int lane) {
          lane_of_last = lane;
          return failing_eager ? throw Error("no step") : std::string("eager");
        },
        [&](int lane) {
          lane_of_last = lane;
          if (failing_capture) throw Error("no graph");
          return std::make_unique<FakeGraph>(FakeGraph{++captured});
        },
        [&](FakeGraph& graph) { return failing_replay ? throw Error("no replay") : std::to_string(graph.number); });
  }
  std::string steps(const std::string& kinds) {
    std::string words;
    for (const char kind : kinds) words += (words.empty() ? "" : " ") + step(kind);
    return words;
  }

  creditlib::detail::GraphCache<char, FakeGraph, int> cache;
  int captured = 0, lanes = 0, lane_of_last = 0;
  bool failing_eager = false, failing_capture = false, failing_replay = false;
};

}  // namespace

TEST_CASE("steps of a kind warm up, are captured once, and are replays from then on", "[cuda]") {
  Steps steps;

  CHECK(steps.steps("aaaaaa") == "eager eager eager 1 1 1");
  CHECK(steps.cache.captures() == 1);
  CHECK(steps.cache.graphs() == 1);
}

TEST_CASE("the short last batch of every epoch warms up by itself and gets a graph of its own", "[cuda]") {
  Steps steps;

  CHECK(steps.steps("aaab") == "eager eager eager eager");
  CHECK(steps.steps("aaab") == "1 1 1 eager");
  CHECK(steps.steps("aaab") == "1 1 1 eager");
  CHECK(steps.steps("aaab") == "1 1 1 2");
  CHECK(steps.steps("aaab") == "1 1 1 2");
  CHECK(steps.cache.graphs() == 2);
}

TEST_CASE("a graph too many takes the place of the one that was used longest ago", "[cuda]") {
  Steps steps({.warm_up = 1});
  REQUIRE(steps.steps("aabba") == "eager 1 eager 2 1");

  CHECK(steps.steps("cc") == "eager 3");
  CHECK(steps.cache.graphs() == 2);
  CHECK(steps.steps("a") == "1");
  CHECK(steps.steps("bb") == "eager 4");
  CHECK(steps.steps("a") == "1");
}

TEST_CASE("kinds that take turns without end, more than there is room for, run eagerly", "[cuda]") {
  Steps steps;

  CHECK(steps.steps("abcabcabcabcabc").find_first_of("123456789") == std::string::npos);
  CHECK(steps.cache.captures() == 0);
}

TEST_CASE("each kind warms up and is captured on a lane of its own, and no more lanes are made than graphs are kept",
          "[cuda]") {
  Steps steps({.warm_up = 1});

  steps.steps("aa");
  CHECK(steps.lane_of_last == 1);
  steps.steps("bb");
  CHECK(steps.lane_of_last == 2);
  steps.steps("cc");  // in the place of a
  CHECK(steps.lane_of_last == 1);
  steps.step('b', {2});
  CHECK(steps.lane_of_last == 2);
  steps.step('b', {2});
  CHECK(steps.lane_of_last == 2);
  CHECK(steps.lanes == 2);
}

TEST_CASE("one graph is kept where one is asked for", "[cuda]") {
  Steps steps({.warm_up = 1, .graphs = 1});

  CHECK(steps.steps("aaabbba") == "eager 1 1 eager 2 2 eager");
}

TEST_CASE("all graphs go when something that they took for constant changes", "[cuda]") {
  Steps steps({.warm_up = 2});
  REQUIRE(steps.steps("aaabbb") == "eager eager 1 eager eager 2");

  CHECK(steps.step('a', {1, 2}) == "eager");
  CHECK(steps.cache.graphs() == 0);
  CHECK(steps.step('a', {1, 2}) == "eager");
  CHECK(steps.step('a', {1, 2}) == "3");
  CHECK(steps.step('b', {1, 2}) == "eager");
  CHECK(steps.step('a', {1, 2}) == "3");
  CHECK(steps.step('a', {1}) == "eager");
}

TEST_CASE("what changes at every step is never captured", "[cuda]") {
  Steps steps;

  for (std::uint64_t i = 0; i < 10; ++i) CHECK(steps.step('a', {i}) == "eager");
}

TEST_CASE("a step that throws does not count, and the next tries again", "[cuda]") {
  Steps steps({.warm_up = 2});

  steps.failing_eager = true;
  for (int i = 0; i < 3; ++i) CHECK(error_of([&] { steps.step('a'); }) == "no step");
  steps.failing_eager = false;
  CHECK(steps.steps("aa") == "eager eager");
  steps.failing_capture = true;
  CHECK(error_of([&] { steps.step('a'); }) == "no graph");
  CHECK(steps.cache.graphs() == 0);
  CHECK(steps.cache.captures() == 0);
  steps.failing_capture = false;
  steps.failing_replay = true;
  CHECK(error_of([&] { steps.step('a'); }) == "no replay");
  steps.failing_replay = false;
  CHECK(steps.steps("aa") == "1 1");
}

TEST_CASE("options that cannot be meant are refused", "[cuda]") {
  CHECK(says(error_of([] { Steps({.warm_up = 0}); }), {"GraphOptions: warm_up is 0", "at least 1"}));
  CHECK(says(error_of([] { Steps({.graphs = 0}); }), {"GraphOptions: graphs is 0", "at least 1"}));
}
