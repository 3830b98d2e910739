// SPDX-License-Identifier: Apache-2.0
// Groups over a network between hosts of their own, where the system makes them, and else within this one.
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
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../test.hpp"
#include "distributed/two_hosts.hpp"
#include "processes.hpp"

using namespace creditlib;
using namespace creditlib::test;
using bench::Link, bench::TwoHosts;

namespace {

/// None where the system does not make them.
std::unique_ptr<TwoHosts> hosts_on(const Link& link) {
  try {
    return std::make_unique<TwoHosts>(link);
  } catch (const Error& error) {
    WARN(error.what());
    return nullptr;
  }
}

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
    const TwoHosts* hosts, const std::string& test_case,
    const std::function<void(std::vector<Process>&)>& meanwhile = [](std::vector<Process>&) {}) {
  if (hosts == nullptr) return ran_as_ranks(2, test_case, {}, meanwhile);
  const Variables variables{{"MASTER_ADDR", "10.233.0.1"}, {"GLOO_SOCKET_IFNAME", bench::Host::interface}};
  return ran_as_ranks(2, test_case, variables, meanwhile,
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

constexpr std::int64_t numbers_summed = 1 << 18;

TEST_CASE("rank: times of messages", "[.rank]") {
  const auto group = distributed::from_environment({.timeout = std::chrono::seconds(60)});
  const auto ms_of = [&](const auto& action) {
    group->barrier();
    const auto start = std::chrono::steady_clock::now();
    action();
    const auto taken = std::chrono::steady_clock::now() - start;
    return std::chrono::duration_cast<std::chrono::milliseconds>(taken).count();
  };
  const auto ball = torch::zeros({1}), numbers = torch::ones({numbers_summed});
  const auto to_and_fro = ms_of([&] {
    if (group->rank() == 0) group->send(ball, 1);
    group->receive(ball, 1 - group->rank());
    if (group->rank() == 1) group->send(ball, 0);
  });
  const auto sum = ms_of([&] { group->sum({numbers}); });
  std::cout << "there and back " << to_and_fro << " sum " << sum << " \n";
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

TEST_CASE("processes on two hosts, on a slow link, train as one does", "[distributed][law]") {
  const auto hosts = hosts_on({.delay = std::chrono::milliseconds(1), .megabits_per_second = 10});
  for (const auto& ended : ran_on_hosts(hosts.get(), "rank: laws")) {
    INFO(ended.output);
    CHECK(ended.code == 0);
  }
}

TEST_CASE("a message takes the link's delay, and a sum the time of its bytes", "[distributed]") {
  const auto hosts = hosts_on({.delay = std::chrono::milliseconds(20), .megabits_per_second = 50});
  if (!hosts) {
    SUCCEED();
    return;
  }
  const auto ended = ran_on_hosts(hosts.get(), "rank: times of messages");
  INFO(ended[0].output << ended[1].output);
  REQUIRE(ended[0].code == 0);
  CHECK(number_after("there and back", ended[0].output) >= 2 * 20);
  // A ring of two: each sends half of the numbers, twice.
  const auto bits = 32 * numbers_summed;
  for (const auto& rank : ended) CHECK(number_after("sum", rank.output) >= 20 + bits / 50'000);
}

TEST_CASE("what goes over the network: a number per parameter, or DFA's factors in a quarter of that",
          "[distributed]") {
  const auto hosts = hosts_on({});
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
  const auto hosts = hosts_on({});
  if (!hosts) {
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
