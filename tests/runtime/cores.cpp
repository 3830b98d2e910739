// SPDX-License-Identifier: Apache-2.0
#include <creditlib/runtime/cores.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "../temporary_folder.hpp"
#include "../test.hpp"

using creditlib::test::TemporaryFolder;

namespace {

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

}  // namespace

TEST_CASE("a process may use the cores of its affinity", "[runtime]") {
  cpu_set_t before, one;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  const int all = CPU_COUNT(&before);
  CHECK(creditlib::detail::cores_of_affinity() == all);
  CHECK(creditlib::runtime::available_cores() >= 1);
  CHECK(creditlib::runtime::available_cores() <= all);

  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK(creditlib::runtime::available_cores() == 1);
  REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
}

TEST_CASE("a control group's quota counts, its own or that of a group around it", "[runtime]") {
  const TemporaryFolder folder;
  const auto root = std::filesystem::path(folder / "root");
  const auto quota = [&] { return creditlib::detail::control_group_quota(root); };
  CHECK(!quota());

  SECTION("version 2") {
    write(root / "proc/self/cgroup", "0::/jobs/mine\n");
    CHECK(!quota());
    write(root / "sys/fs/cgroup/jobs/mine/cpu.max", "max 100000\n");
    CHECK(!quota());
    write(root / "sys/fs/cgroup/cpu.max", "350000 100000\n");
    CHECK(quota() == 3.5);
    write(root / "sys/fs/cgroup/jobs/mine/cpu.max", "50000 100000\n");
    CHECK(quota() == 0.5);
    write(root / "sys/fs/cgroup/jobs/cpu.max", "100000 100000\n");
    CHECK(quota() == 0.5);
  }
  SECTION("version 1") {
    write(root / "proc/self/cgroup", "5:memory:/jobs\n4:cpu,cpuacct:/jobs\n");
    write(root / "sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us", "-1\n");
    write(root / "sys/fs/cgroup/cpu/jobs/cpu.cfs_period_us", "100000\n");
    CHECK(!quota());
    write(root / "sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us", "200000\n");
    CHECK(quota() == 2);
  }
  SECTION("something else") {
    write(root / "proc/self/cgroup", "nonsense\n0::/\n");
    write(root / "sys/fs/cgroup/cpu.max", "many\n");
    CHECK(!quota());
  }
}
