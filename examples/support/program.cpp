#include "support/program.hpp"

#include <atomic>
#include <csignal>
#include <cstdio>

namespace support {
namespace {

std::atomic<bool> stop{false};

void ask_to_stop(int signal) {
  stop = true;
  std::signal(signal, SIG_DFL);  // a second Ctrl-C ends the program at once
}

}  // namespace

bool interrupted() { return stop; }

std::string flag(const std::string& name) {
  std::string dashed = name;
  for (char& c : dashed) c = c == '_' ? '-' : c;
  return dashed == name ? "--" + name : "--" + name + ",--" + dashed;
}

int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& body) {
  const auto complain = [&](const char* what) { std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), what); };
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    complain(error.what());
    std::fprintf(stderr, "%s --help lists the flags.\n", app.get_name().c_str());
    return 2;
  }
  std::signal(SIGINT, ask_to_stop);
  std::signal(SIGTERM, ask_to_stop);
  try {
    body();
    return 0;
  } catch (const Interrupted&) {
    complain("stopped; the results so far are written.");
    return 130;
  } catch (const UsageError& error) {
    complain(error.what());
    return 2;
  } catch (const std::exception& error) {
    complain(error.what());
    return 1;
  }
}

}  // namespace support
