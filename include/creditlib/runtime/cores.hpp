// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <istream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#if defined(__linux__)
#include <sched.h>
#endif

namespace creditlib::detail {

/// The cores of the process's affinity.
inline int cores_of_affinity() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

/// A quota of processor time over its period, in cores, as two files or one have it ("max" or -1: none).
inline std::optional<double> quota_in(std::istream&& quota, std::istream&& period) {
  double time = 0, of = 0;
  if (!(quota >> time) || !(period >> of) || time <= 0 || of <= 0) return std::nullopt;
  return time / of;
}

/// The smallest quota of the process's control groups, in cores: of the group that /proc/self/cgroup names and of those
/// that hold it, version 2 or 1. `root` is where /proc and /sys are.
inline std::optional<double> control_group_quota(const std::filesystem::path& root = "/") {
  std::optional<double> least;
  const auto take = [&](const std::optional<double>& quota) {
    if (quota) least = std::min(*quota, least.value_or(*quota));
  };
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/a/b", or "4:cpu,cpuacct:/a/b"
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const auto controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool newer = controllers == ",,";
    if (!newer && controllers.find(",cpu,") == std::string::npos) continue;
    const auto top = root / "sys/fs/cgroup" / (newer ? "" : "cpu");
    auto group = std::filesystem::path(line.substr(second + 1)).relative_path();
    for (;; group = group.parent_path()) {
      const auto folder = top / group;
      if (newer) {
        std::ifstream file(folder / "cpu.max");  // "quota period"
        std::string quota, period;
        file >> quota >> period;
        take(quota_in(std::istringstream(quota), std::istringstream(period)));
      } else {
        take(quota_in(std::ifstream(folder / "cpu.cfs_quota_us"), std::ifstream(folder / "cpu.cfs_period_us")));
      }
      if (group.empty()) break;
    }
  }
  return least;
}

}  // namespace creditlib::detail

namespace creditlib::runtime {

/// How many cores the process may use: those of its affinity (taskset, a batch system), and no more than the quota of
/// its control group (a container) has whole ones; at least 1. LibTorch's and OpenMP's own numbers know no quota, and
/// threads beyond it wait for each other.
inline int available_cores() {
  const auto quota = detail::control_group_quota();
  const int affinity = detail::cores_of_affinity();
  return quota ? std::clamp(static_cast<int>(std::min(*quota, 1e6)), 1, affinity) : affinity;
}

}  // namespace creditlib::runtime
