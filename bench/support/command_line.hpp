// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <creditlib/runtime/denormals.hpp>
#include <creditlib/runtime/memory.hpp>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <vector>

namespace bench {

/// Runs `body` on the command line's arguments; its exit code, or 2 after an exception.
inline int run_program(int argc, char** argv, const std::function<int(std::vector<std::string>&)>& body) {
  creditlib::runtime::keep_freed_memory();  // as the programs of examples/ do
  creditlib::runtime::flush_denormals();
  std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    return body(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s.\n", argv[0], error.what());
    return 2;
  }
}

/// Takes out Google Benchmark's flag for short runs, which ctest gives every program of bench/; whether it was there.
inline bool take_brief(std::vector<std::string>& arguments) {
  return std::erase_if(arguments, [](const auto& a) { return a.rfind("--benchmark_min_time", 0) == 0; }) > 0;
}

/// Runs what was registered, with what is left of the command line as Google Benchmark's flags. Exit code.
inline int run_benchmarks(const char* program, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program);
  std::vector<char*> pointers;
  for (auto& argument : arguments) pointers.push_back(argument.data());
  auto count = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace bench
