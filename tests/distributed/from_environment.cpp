// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <creditlib/distributed/from_environment.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <thread>

#include "../models.hpp"
#include "processes.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Sets variables of this process, and puts them back.
class SetVariables {
 public:
  explicit SetVariables(const Variables& variables) {
    for (const char* name : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) set(name, nullptr);
    for (const auto& [name, value] : variables) set(name.c_str(), value.c_str());
  }
  ~SetVariables() {
    while (!before_.empty()) {
      const auto& [name, value] = before_.back();
      value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
      before_.pop_back();
    }
  }
  SetVariables(const SetVariables&) = delete;
  SetVariables& operator=(const SetVariables&) = delete;

 private:
  void set(const char* name, const char* value) {
    before_.emplace_back(name, creditlib::detail::environment_variable(name));
    value != nullptr ? setenv(name, value, 1) : unsetenv(name);
  }
  std::vector<std::pair<std::string, std::optional<std::string>>> before_;
};

std::string refusal(const Variables& variables, std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
  const SetVariables set(variables);
  return error_of([&] { distributed::from_environment({.timeout = timeout}); });
}

/// The first line of a text with this in it.
std::string line_with(const std::string& part, const std::string& text) {
  const auto found = text.find(part);
  if (found == std::string::npos) return "";
  const auto begin = text.rfind('\n', found) + 1;
  return text.substr(begin, text.find('\n', found) - begin);
}

/// The torchrun of the Python that tests use, if its torch can be imported.
std::string torchrun() {
  const auto python = creditlib::detail::environment_variable("CREDITLIB_PYTHON").value_or("");
  if (python.empty()) return "";
  const TemporaryFolder folder;
  Process imported({python, "-c", "import torch.distributed.run"}, {}, folder.path() / "output");
  const auto program = std::filesystem::path(python).parent_path() / "torchrun";
  return imported.end().code == 0 && std::filesystem::exists(program) ? program.string() : "";
}

}  // namespace

TEST_CASE("without variables, or with a world of one, a process trains alone", "[distributed]") {
  for (const auto& variables : {Variables{}, Variables{{"RANK", "0"}, {"WORLD_SIZE", "1"}}}) {
    const SetVariables set(variables);
    CHECK(distributed::from_environment()->size() == 1);
  }
}

TEST_CASE("variables that are missing or cannot be meant are refused by name", "[distributed]") {
  CHECK(says(refusal({{"RANK", "1"}}), {"WORLD_SIZE is not set, but RANK is", "torchrun"}));
  CHECK(says(refusal({{"WORLD_SIZE", "2"}}), {"RANK is not set, but WORLD_SIZE is"}));
  CHECK(says(refusal({{"RANK", "one"}, {"WORLD_SIZE", "2"}}), {"RANK is \"one\", expected a whole number"}));
  CHECK(says(refusal({{"RANK", "1x"}, {"WORLD_SIZE", "2"}}), {"RANK is \"1x\""}));
  CHECK(says(refusal({{"RANK", "-1"}, {"WORLD_SIZE", "2"}}), {"RANK is \"-1\""}));
  CHECK(says(refusal({{"RANK", "0"}, {"WORLD_SIZE", "0"}}), {"WORLD_SIZE is \"0\""}));
  CHECK(says(refusal({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), {"RANK is 2 and WORLD_SIZE is 2", "from 0"}));
  CHECK(says(refusal({{"RANK", "1"}, {"WORLD_SIZE", "1"}}), {"RANK is 1 and WORLD_SIZE is 1"}));
  const Variables two{{"RANK", "0"}, {"WORLD_SIZE", "2"}};
  CHECK(says(refusal(two), {"MASTER_ADDR is not set"}));
  auto with_host = two;
  with_host.emplace_back("MASTER_ADDR", "127.0.0.1");
  CHECK(says(refusal(with_host), {"MASTER_PORT is not set"}));
  with_host.emplace_back("MASTER_PORT", "70000");
  CHECK(says(refusal(with_host), {"MASTER_PORT is \"70000\", expected a whole number from 1 to 65535"}));
}

TEST_CASE("a rank that is never started is named, and so is a store that nobody keeps", "[distributed]") {
  const auto variables = [](const char* rank) {
    return Variables{{"RANK", rank}, {"WORLD_SIZE", "3"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", free_port()}};
  };

  CHECK(says(refusal(variables("0"), std::chrono::milliseconds(300)), {"Ranks 1, 2 did not come within 0.3 s"}));
  CHECK(says(refusal(variables("1"), std::chrono::milliseconds(300)), {"store does not answer at 127.0.0.1:"}));
}

// ---- What each of several processes runs ----

TEST_CASE("rank: collectives", "[.rank]") {
  const auto group = distributed::from_environment({.timeout = std::chrono::seconds(20)});
  const auto rank = group->rank(), size = group->size();
  for (int repeated = 0; repeated < 3; ++repeated) {
    torch::manual_seed(rank);
    const auto large = torch::randn({300, 1000}), small = torch::full({2}, rank + 1.0, torch::kFloat64);
    auto expected = torch::zeros({300, 1000});
    for (std::int64_t other = 0; other < size; ++other) {
      torch::manual_seed(other);
      expected += torch::randn({300, 1000});
    }

    group->sum({large, small});
    CHECK(torch::allclose(large, expected, 1e-4, 1e-5));
    CHECK(small[0].item<double>() == Approx(static_cast<double>(size * (size + 1)) / 2));
    const auto of_rank_0 = large.clone();
    group->broadcast({of_rank_0}, 0);
    CHECK(torch::equal(of_rank_0, large));  // sums are equal to the bit

    const auto token = torch::full({3}, rank, torch::kInt64);
    if (rank > 0) group->receive(token, rank - 1);
    if (rank > 0) CHECK(token[0].item<std::int64_t>() == rank - 1);
    if (rank + 1 < size) group->send(torch::full({3}, rank, torch::kInt64), rank + 1);
    group->barrier();

    // Begun one after the other, and waited for later.
    const auto ones = torch::ones({100000}), twos = torch::full({3}, 2.0, torch::kFloat64);
    const auto first = group->begin_sum({ones}), second = group->begin_sum({twos});
    std::vector<std::unique_ptr<distributed::Pending>> under_way;
    std::vector<torch::Tensor> received;
    for (int part = 0; part < 3 && rank > 0; ++part) {
      received.push_back(torch::zeros({50000}));
      under_way.push_back(group->begin_receive(received.back(), rank - 1));
    }
    for (int part = 0; part < 3 && rank + 1 < size; ++part)
      under_way.push_back(group->begin_send(torch::full({50000}, part + 1.0F), rank + 1));
    for (const auto& each : under_way) each->wait();
    for (std::size_t part = 0; part < received.size(); ++part)
      CHECK(torch::equal(received[part], torch::full({50000}, static_cast<float>(part) + 1)));
    second->wait();
    first->wait();
    CHECK(torch::equal(ones, torch::full({100000}, static_cast<float>(size))));
    CHECK(torch::equal(twos, torch::full({3}, 2.0 * static_cast<double>(size), torch::kFloat64)));
  }
  CHECK(says(error_of([&] { group->send(torch::ones({1}), rank); }), {"there is no other rank"}));
  CHECK(distributed::from_environment()->size() == size);  // a second group
}

TEST_CASE("rank: one goes", "[.rank]") {
  const auto group = distributed::from_environment({.timeout = std::chrono::seconds(4)});
  group->barrier();
  std::cout << "together" << std::endl;
  const auto message = error_of([&] {
    for (int i = 0; i < 100000; ++i) group->sum({torch::ones({1000})});
  });
  std::cout << message << std::endl;
  CHECK(error_of([&] { group->barrier(); }) == message);
}

TEST_CASE("rank: a shorter message", "[.rank]") {
  const auto group = distributed::from_environment({.timeout = std::chrono::seconds(5)});
  const auto tensor = torch::ones({1000 + 500 * group->rank()});
  const auto message = error_of([&] { group->broadcast({tensor}, 0); });
  if (group->rank() == 1) {
    CHECK(
        says(message, {"Group::broadcast failed on rank 1", "the message has 4000 bytes and this rank expects 6000"}));
  }
}

// ---- What starts them ----

TEST_CASE("two and three processes sum, broadcast, send and receive over Gloo", "[distributed]") {
  for (const int size : {2, 3}) {
    for (const auto& ended : ran_as_ranks(size, "rank: collectives")) {
      INFO(ended.output);
      CHECK(ended.code == 0);
    }
  }
}

TEST_CASE("torchrun starts the processes", "[distributed]") {
  const auto starter = torchrun();
  if (starter.empty()) {
    WARN("not run: CREDITLIB_PYTHON has no torch that can be imported, with its torchrun");
    return;
  }
  const TemporaryFolder folder;

  Process started({starter, "--no-python", "--nproc-per-node", "2", "--master-port", free_port(), this_program(),
                   "rank: collectives"},
                  {{"GLOO_SOCKET_IFNAME", "lo"}}, folder.path() / "output");
  const auto ended = started.end();

  INFO(ended.output);
  CHECK(ended.code == 0);
  CHECK(ended.output.find("All tests passed") != std::string::npos);
}

TEST_CASE("a rank that is killed or hangs is an error on all others, with its number", "[distributed]") {
  const bool hangs = GENERATE(false, true);
  const std::size_t gone = GENERATE(std::size_t{0}, std::size_t{2});
  std::chrono::steady_clock::time_point then;

  const auto ended = ran_as_ranks(3, "rank: one goes", {}, [&](std::vector<Process>& processes) {
    for (auto& process : processes) {
      for (int i = 0; i < 2000 && process.output().find("together") == std::string::npos; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    processes[gone].send(hangs ? SIGSTOP : SIGKILL);
    then = std::chrono::steady_clock::now();
    for (std::size_t rank = 0; rank < 3; ++rank) {
      while (rank != gone && processes[rank].output().find("passed") == std::string::npos &&
             std::chrono::steady_clock::now() - then < std::chrono::seconds(40))
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    processes[gone].send(SIGKILL);
  });

  CHECK(std::chrono::steady_clock::now() - then < std::chrono::seconds(25));  // 4 on a machine that is not busy
  for (std::size_t rank = 0; rank < 3; ++rank) {
    if (rank == gone) continue;
    INFO(ended[rank].output);
    CHECK(ended[rank].code == 0);
    CHECK(says(line_with("Group::", ended[rank].output),
               {"Group::sum failed on rank " + std::to_string(rank), "Rank " + std::to_string(gone)}));
  }
}

TEST_CASE("a message that is shorter than expected is an error", "[distributed]") {
  for (const auto& ended : ran_as_ranks(2, "rank: a shorter message")) {
    INFO(ended.output);
    CHECK(ended.code == 0);
  }
}
