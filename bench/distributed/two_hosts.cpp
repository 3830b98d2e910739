// SPDX-License-Identifier: Apache-2.0
// Two hosts for bench/distributed.py: prints their names when they are there, and removes them when its input ends, as it does if what started
// this program ends in any way.

#include "two_hosts.hpp"

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <iostream>

int main(int argc, char** argv) {
  CLI::App app("Two hosts on this machine, each a network namespace, and a link between them, until the input ends.",
               "distributed_hosts");
  double delay = 0, rate = 0;
  app.add_option("--delay", delay, "of the link, one way, in ms")->required()->check(CLI::Range(0.0, 60e3));
  app.add_option("--rate", rate, "of the link, each way, in Mb/s")->required()->check(CLI::Range(1e-3, 1e6));
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGINT, SIG_IGN);  // Ctrl-C is for what started this program
  try {
    const std::chrono::duration<double, std::milli> ms(delay);
    const bench::TwoHosts hosts(
        {.delay = std::chrono::duration_cast<std::chrono::nanoseconds>(ms), .megabits_per_second = rate});
    std::cout << hosts.name(0) << ' ' << hosts.name(1) << std::endl;
    while (std::cin.get() != std::char_traits<char>::eof()) continue;
  } catch (const std::exception& error) {
    std::cerr << "distributed_hosts: " << error.what() << '\n';
    return 1;
  }
}
