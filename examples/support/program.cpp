#include "support/program.hpp"

#include <creditlib/error.hpp>
#include <torch/cuda.h>

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

std::string chosen_device(const std::string& device, int gpu) {
  const auto count = static_cast<int>(torch::cuda::device_count());
  if (device == "auto") return gpu >= 0 && gpu < count ? "cuda:" + std::to_string(gpu) : "cpu";
  if (device == "cpu") return device;
  int index = -1;
  if (device == "cuda") index = gpu;
  if (device.rfind("cuda:", 0) == 0 && device.size() > 5 && device.find_first_not_of("0123456789", 5) == std::string::npos) {
    index = std::atoi(device.c_str() + 5);
  }
  if (index < 0) throw UsageError("--device is " + device + ", expected auto, cpu, cuda or cuda:N");
  if (index >= count) {
    throw UsageError("--device " + device + ": LibTorch finds " + std::to_string(count) +
                     " CUDA devices on this machine; use --device cpu, or a LibTorch with CUDA and a driver for it");
  }
  return "cuda:" + std::to_string(index);
}

std::string data_folder(const std::string& data_dir, const std::string& dataset) {
  if (!data_dir.empty()) return data_dir;
  return dataset == "digits" ? CREDITLIB_DATA_DIR "/digits" : "data";
}

}  // namespace support
