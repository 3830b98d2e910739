// SPDX-License-Identifier: Apache-2.0
#include "support/processes.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <creditlib/data/detail/rank_rows.hpp>
#include <creditlib/distributed/from_environment.hpp>
#include <creditlib/error.hpp>
#include <creditlib/runtime/cores.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "support/program.hpp"

namespace support {
namespace {

using creditlib::detail::environment_variable;
namespace distributed = creditlib::distributed;

constexpr const char* started_here = "CREDITLIB_STARTED_BY";  // the process' number that --distributed was given to

std::shared_ptr<distributed::Group>& current() {
  static auto group = distributed::alone();
  return group;
}

std::int64_t whole_number(const char* name, std::int64_t least) {
  const auto value = environment_variable(name);
  return value ? creditlib::detail::number_of(name, *value, least, 1'000'000) : least;
}

/// The number of a process among those that torchrun has started; 0 if it says nothing, or nonsense, which joining them
/// complains of.
std::int64_t rank_of(const char* name) try {
  return started_processes() > 1 ? whole_number(name, 0) : 0;
} catch (const creditlib::Error&) {
  return 0;
}

std::atomic<int> to_pass_on{0};  // a signal that stops the program

/// The processes of --distributed that run.
class Started {
 public:
  Started() = default;
  ~Started() {
    send(SIGKILL);
    for (const auto id : ids_) ::waitpid(id, nullptr, 0);
  }
  Started(const Started&) = delete;
  Started& operator=(const Started&) = delete;

  void add(pid_t id) { ids_.push_back(id); }

  /// The first exit code that is not 0, after all have ended.
  int wait() {
    int code = 0;
    auto killed_at = Clock::time_point::max();
    while (!ids_.empty()) {
      if (const int signal = to_pass_on.exchange(0); signal != 0) send(signal);
      if (Clock::now() > killed_at) send(SIGKILL);
      int status = 0;
      const pid_t ended = ::waitpid(-1, &status, WNOHANG);
      if (ended <= 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        continue;
      }
      std::erase(ids_, ended);
      const int its = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      if (its == 0 || code != 0) continue;
      code = its;
      send(SIGTERM);
      killed_at = Clock::now() + std::chrono::seconds(30);
    }
    return code;
  }

 private:
  using Clock = std::chrono::steady_clock;

  void send(int signal) const {
    for (const auto id : ids_) ::kill(id, signal);
  }

  std::vector<pid_t> ids_;
};

/// This program with its arguments, in a process group of its own, so that the terminal's Ctrl-C reaches it once.
pid_t started(char** arguments, const std::vector<std::pair<std::string, std::string>>& variables) {
  std::vector<std::string> texts;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string entry = *each;
    const auto same = [&](const auto& variable) { return entry.starts_with(variable.first + "="); };
    if (std::none_of(variables.begin(), variables.end(), same)) texts.push_back(entry);
  }
  for (const auto& [name, value] : variables) texts.push_back(name + "=" + value);
  std::vector<char*> environment;
  for (auto& text : texts) environment.push_back(text.data());
  environment.push_back(nullptr);

  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  pid_t id = 0;
  const int failed = ::posix_spawn(&id, "/proc/self/exe", nullptr, &attributes, arguments, environment.data());
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0)
    throw creditlib::Error("--distributed: the system starts no process: " + std::string(std::strerror(failed)) + ".");
  return id;
}

}  // namespace

const std::shared_ptr<distributed::Group>& group() { return current(); }
std::int64_t rank() {
  static const auto own = rank_of("RANK");
  return own;
}
bool leads() { return rank() == 0; }
bool leads_here() { return rank_of("LOCAL_RANK") == 0; }

torch::Tensor own_rows(const torch::Tensor& whole) {
  if (whole.size(0) < group()->size()) {
    throw UsageError(fmt::format("a batch of {} has no row for each of {} processes: use larger batches", whole.size(0),
                                 group()->size()));
  }
  const auto [begin, count] = creditlib::detail::own_rows(whole.size(0), *group());
  return whole.narrow(0, begin, count);
}

JoinedProcesses::JoinedProcesses() {
  // A process of --distributed ends with the one that has started it.
  if (environment_variable(started_here)) ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  current() = distributed::from_environment();
  group()->barrier();  // one that ends at once, over a wrong flag, is not to be gone while another still connects
  if (!leads() && std::freopen("/dev/null", "w", stdout) == nullptr)
    throw creditlib::Error("/dev/null cannot be opened, where all processes but the first write what they say.");
}
JoinedProcesses::~JoinedProcesses() { current() = distributed::alone(); }

std::int64_t started_processes() { return whole_number("WORLD_SIZE", 1); }
std::int64_t local_processes() { return whole_number("LOCAL_WORLD_SIZE", 1); }

void check_distributed(std::int64_t count) {
  if (count > 1 && started_processes() > 1 && !environment_variable(started_here)) {
    throw UsageError(fmt::format(
        "--distributed {} starts processes, and torchrun (or WORLD_SIZE) has started {}: leave one of them out", count,
        started_processes()));
  }
}
bool is_starter(std::int64_t count) { return count > 1 && !environment_variable(started_here); }

int run_in_processes(std::int64_t count, char** arguments) {
  // Its port stays taken from here on; the processes are its clients, as they are of torchrun's store.
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  const auto store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  const auto all = std::to_string(count);
  const auto threads = std::max<std::int64_t>(1, creditlib::runtime::available_cores() / count);

  // What stops this process from now on reaches those too that are started later.
  for (const int signal : {SIGINT, SIGTERM}) {
    ::signal(signal, [](int caught) { to_pass_on = caught; });
  }
  ::signal(SIGCHLD, SIG_DFL);  // a parent may have left it ignored, and then nobody can be waited for

  Started processes;
  for (std::int64_t rank = 0; rank < count; ++rank) {
    const auto own = std::to_string(rank);
    processes.add(started(
        arguments, {{"RANK", own},
                    {"LOCAL_RANK", own},
                    {"WORLD_SIZE", all},
                    {"LOCAL_WORLD_SIZE", all},
                    {"MASTER_ADDR", "127.0.0.1"},
                    {"MASTER_PORT", std::to_string(store->getPort())},
                    {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                    {"OMP_NUM_THREADS", environment_variable("OMP_NUM_THREADS").value_or(std::to_string(threads))},
                    {"GLOO_SOCKET_IFNAME", environment_variable("GLOO_SOCKET_IFNAME").value_or("lo")},
                    {started_here, std::to_string(::getpid())}}));
  }
  return processes.wait();
}

}  // namespace support
