// SPDX-License-Identifier: Apache-2.0
// Groups over a network between hosts of their own, where the system makes them, and else within this one.
#include "hosts.hpp"

#include <chrono>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/distributed/from_environment.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "../test.hpp"
#include "processes.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

std::int64_t bytes_sent() {
  const auto interface = creditlib::detail::environment_variable("GLOO_SOCKET_IFNAME").value();
  std::ifstream file("/sys/class/net/" + interface + "/statistics/tx_bytes");
  std::int64_t bytes = -1;
  file >> bytes;
  REQUIRE(bytes >= 0);
  return bytes;
}

constexpr std::int64_t counted_steps = 6;

/// What this host sends in a step, by its network's own count.
template <class Trainer>
std::int64_t bytes_per_step(Trainer& trainer) {
  const auto x = torch::randn({4, 3072}), y = torch::randint(10, {4});
  trainer.step(x, y);
  const auto before = bytes_sent();
  for (std::int64_t step = 0; step < counted_steps; ++step) trainer.step(x, y);
  return (bytes_sent() - before) / counted_steps;
}

std::int64_t number_after(const std::string& name, const std::string& text) {
  const auto at = text.find(name + " ");
  REQUIRE(at != std::string::npos);
  return std::stoll(text.substr(at + name.size() + 1));
}

/// The hidden test case in two processes, each on a host of its own if there are hosts.
std::vector<Ended> ran_on_hosts(
    const Hosts* hosts, const std::string& test_case,
    const std::function<void(std::vector<Process>&)>& meanwhile = [](std::vector<Process>&) {}) {
  if (hosts == nullptr) return ran_as_ranks(2, test_case, {}, meanwhile);
  return ran_as_ranks(2, test_case, Hosts::variables(), meanwhile,
                      [&](int rank, const std::vector<std::string>& command) { return hosts->on(rank, command); });
}

}  // namespace

// ---- What each of two processes runs ----

TEST_CASE("rank: volume", "[.rank]") {
  const auto group = distributed::from_environment({.timeout = std::chrono::seconds(60)});
  torch::manual_seed(1);
  const auto model = [] { return ResidualMLP({.input = 3072, .width = 256, .classes = 10, .blocks = 4}); };
  BackpropTrainer bp(model(), {.group = group});
  const auto dense = bytes_per_step(bp);
  LocalTrainer dfa(model(), DFA{}, {.group = group});
  const auto factors = bytes_per_step(dfa);
  std::cout << "dense " << dense << " factors " << factors << " \n";
  std::int64_t parameters = 0;
  for (const auto& parameter : bp.model()->parameters()) parameters += parameter.numel();
  std::cout << "parameters " << parameters << " \n";
}

TEST_CASE("rank: trains until the network is cut", "[.rank]") {
  const auto group = distributed::from_environment({.timeout = std::chrono::seconds(10)});
  ResidualMLP model({.input = 8, .width = 8, .classes = 2, .blocks = 2});
  LocalTrainer trainer(model, DFA{}, {.group = group});
  const auto x = torch::randn({4, 8}), y = torch::randint(2, {4});
  try {
    for (int step = 0;; ++step) {
      trainer.step(x, y);
      if (step == 10) std::cout << "ten steps" << std::endl;
    }
  } catch (const Error& error) {
    std::cout << error.what() << std::endl;
    std::_Exit(7);
  }
}

// ---- What starts them ----

TEST_CASE("processes on two hosts train as one does", "[distributed][law]") {
  const auto hosts = Hosts::made();
  for (const auto& ended : ran_on_hosts(hosts.get(), "rank: laws")) {
    INFO(ended.output);
    CHECK(ended.code == 0);
  }
}

TEST_CASE("what goes over the network: a number per parameter, or DFA's factors in a quarter of that",
          "[distributed]") {
  const auto hosts = Hosts::made();
  const auto ended = ran_on_hosts(hosts.get(), "rank: volume");
  INFO(ended[0].output << ended[1].output);
  REQUIRE(ended[0].code == 0);
  // A ring of two: each sends half of the numbers to the other, twice. This host's own network counts both.
  const auto dense = number_after("dense", ended[0].output), factors = number_after("factors", ended[0].output);
  const auto expected = 4 * number_after("parameters", ended[0].output) * (hosts ? 1 : 2);
  CHECK(dense > expected);
  CHECK(static_cast<double>(dense) < 1.1 * static_cast<double>(expected));  // with TCP's headers
  CHECK(factors < dense / 4);
}

TEST_CASE("a network that is cut is an Error on both sides, with the other's rank", "[distributed]") {
  const auto hosts = Hosts::made();
  if (!hosts) {
    WARN("there are no network namespaces here, so no network is cut");
    SUCCEED();
    return;
  }
  const auto cut = [&](std::vector<Process>& processes) {
    const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (processes[0].output().find("ten steps") == std::string::npos && std::chrono::steady_clock::now() < late)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    hosts->cut();
  };
  const auto ended = ran_on_hosts(hosts.get(), "rank: trains until the network is cut", cut);
  for (std::size_t rank = 0; rank < 2; ++rank) {
    INFO(ended[rank].output);
    CHECK(ended[rank].code == 7);
    CHECK(ended[rank].output.find(rank == 0 ? "Rank 1 is gone, cut off" : "Rank 0") != std::string::npos);
  }
}
