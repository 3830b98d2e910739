// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <creditlib/error.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../temporary_folder.hpp"

/// Processes that each run one hidden test case of this very program.
namespace creditlib::test {

using Variables = std::vector<std::pair<std::string, std::string>>;

/// What a process has come to: its exit code, 128 + the signal that ended it, and what it has written.
struct Ended {
  int code = -1;
  std::string output;
};

inline std::string this_program() { return std::filesystem::read_symlink("/proc/self/exe"); }

/// A port of the loopback address that is free now.
inline std::string free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  if (bind(socket, any, length) != 0 || getsockname(socket, any, &length) != 0) creditlib::detail::fail("no free port");
  close(socket);
  return std::to_string(ntohs(address.sin_port));
}

/// A process that runs a command, with these variables besides this program's.
class Process {
 public:
  Process(const std::vector<std::string>& command, const Variables& variables, std::string output)
      : output_(std::move(output)) {
    std::vector<std::string> environment;
    for (char** each = environ; *each != nullptr; ++each) {
      const std::string entry = *each, name = entry.substr(0, entry.find('='));
      bool replaced = false;
      for (const auto& variable : variables) replaced = replaced || variable.first == name;
      if (!replaced) environment.push_back(entry);
    }
    for (const auto& [name, value] : variables) environment.push_back(name + "=" + value);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, output_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    const int failed = posix_spawnp(&id_, command[0].c_str(), &actions, nullptr, pointers(command).data(),
                                    pointers(environment).data());
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) creditlib::detail::fail("cannot start ", command[0]);
  }
  Process(Process&& other) noexcept : id_(std::exchange(other.id_, 0)), output_(std::move(other.output_)) {}
  ~Process() {
    if (id_ == 0) return;
    send(SIGKILL);
    waitpid(id_, nullptr, 0);
  }

  void send(int signal) const { kill(id_, signal); }
  std::string output() const {
    std::ifstream file(output_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// Waits until it has ended; kills it after two minutes.
  Ended end() {
    int status = 0;
    const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    while (waitpid(id_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > late) send(SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    id_ = 0;
    return {WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), output()};
  }

 private:
  static std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> all;
    for (const auto& text : texts) all.push_back(const_cast<char*>(text.c_str()));
    all.push_back(nullptr);
    return all;
  }

  pid_t id_ = 0;
  std::string output_;
};

/// Starts `size` ranks that run the hidden test case, with `command_of(rank, command)` in place of the command, lets
/// `meanwhile` act on them, and waits until all have ended.
inline std::vector<Ended> ran_as_ranks(
    int size, const std::string& test_case, const Variables& variables = {},
    const std::function<void(std::vector<Process>&)>& meanwhile = [](std::vector<Process>&) {},
    const std::function<std::vector<std::string>(int, std::vector<std::string>)>& command_of =
        [](int, std::vector<std::string> command) { return command; }) {
  const TemporaryFolder folder;
  const auto port = free_port();
  std::vector<Process> processes;
  for (int rank = 0; rank < size; ++rank) {
    Variables own{{"RANK", std::to_string(rank)},
                  {"WORLD_SIZE", std::to_string(size)},
                  {"MASTER_ADDR", "127.0.0.1"},
                  {"MASTER_PORT", port},
                  {"GLOO_SOCKET_IFNAME", "lo"}};
    for (const auto& [name, value] : variables) {
      std::erase_if(own, [&](const auto& variable) { return variable.first == name; });
      own.emplace_back(name, value);
    }
    processes.emplace_back(command_of(rank, {this_program(), test_case}), own,
                           folder.path() / ("rank" + std::to_string(rank)));
  }
  meanwhile(processes);
  std::vector<Ended> ended;
  for (auto& process : processes) ended.push_back(process.end());
  return ended;
}

}  // namespace creditlib::test
