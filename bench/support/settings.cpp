// SPDX-License-Identifier: Apache-2.0
#include "support/settings.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <creditlib/error.hpp>
#include <creditlib/runtime/cores.hpp>
#include <creditlib/runtime/matmul.hpp>
#include <sstream>

#include "registry/networks.hpp"

namespace bench {
namespace {

void take_text(std::vector<std::string>& arguments, const std::string& flag, std::string& member,
               const std::vector<std::string>& allowed = {}) {
  const auto value = take_value(arguments, flag);
  if (!value) return;
  if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), *value) == allowed.end()) {
    std::string names;
    for (const auto& name : allowed) names += (names.empty() ? "" : ", ") + name;
    throw creditlib::Error(flag + " is " + *value + ", expected one of " + names);
  }
  member = *value;
}

void take_number(std::vector<std::string>& arguments, const std::string& flag, std::int64_t& member) {
  const auto value = take_value(arguments, flag);
  if (!value) return;
  std::size_t used = 0;
  try {
    member = std::stoll(*value, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != value->size() || member < 1)
    throw creditlib::Error(flag + " is " + *value + ", expected a whole number of at least 1");
}

}  // namespace

std::vector<std::string> models() {
  auto names = registry::network_names();
  std::erase_if(names, [](const auto& name) { return !registry::facts_of(name).benchmarked; });
  return names;
}

std::string Settings::resolved_path() const {
  if (path != "auto") return path;
  return model == "resmlp" ? "closed_form" : "generic";
}

std::string Settings::model_name() const {
  return model == "resmlp" ? "resmlp_d" + std::to_string(width) + "_L" + std::to_string(blocks) : model;
}

std::string Settings::name() const {
  const auto parts = rule + "/" + model_name() + "/" + resolved_path() + "/" + precision;
  return device == "cpu" ? parts : parts + "/" + device;
}

void Settings::apply() const {
  if (torch::Device(device).is_cuda() && !at::globalContext().hasCUDA()) {
    throw creditlib::Error("--device " + device + ": LibTorch sees no CUDA device here; use cpu");
  }
  const std::int64_t cores = creditlib::runtime::available_cores();
  if (threads > cores) {
    throw creditlib::Error("--threads " + std::to_string(threads) + ": there are " + std::to_string(cores) +
                           " cores, and more threads would wait for each other");
  }
  at::set_num_threads(static_cast<int>(threads));
  creditlib::runtime::use_matmul(matmul == "onednn" ? creditlib::runtime::Matmul::OneDNN
                                                    : creditlib::runtime::Matmul::Default);
}

bool take_switch(std::vector<std::string>& arguments, const std::string& flag) {
  const auto at = std::find(arguments.begin(), arguments.end(), flag);
  if (at == arguments.end()) return false;
  arguments.erase(at);
  return true;
}

std::optional<std::string> take_value(std::vector<std::string>& arguments, const std::string& flag) {
  const auto at = std::find(arguments.begin(), arguments.end(), flag);
  if (at == arguments.end()) return std::nullopt;
  if (at + 1 == arguments.end()) throw creditlib::Error(flag + " needs a value");
  const std::string value = *(at + 1);
  arguments.erase(at, at + 2);
  return value;
}

std::vector<std::string> parts_of(const std::string& text) {
  std::vector<std::string> items;
  std::istringstream stream(text);
  for (std::string item; std::getline(stream, item, ',');) items.push_back(item);
  return items;
}

void take_names(std::vector<std::string>& arguments, const std::string& flag, std::vector<std::string>& names) {
  const auto given = take_value(arguments, flag);
  if (!given) return;
  const auto chosen = parts_of(*given);
  for (const auto& name : chosen) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    std::string all;
    for (const auto& other : names) all += (all.empty() ? "" : ", ") + other;
    throw creditlib::Error(flag + ": there is no " + name + ", only " + all + " (separated by commas)");
  }
  if (chosen.empty()) throw creditlib::Error(flag + " names nothing");
  names = chosen;
}

Settings take_common_settings(std::vector<std::string>& arguments) {
  Settings s;
  take_text(arguments, "--device", s.device);
  take_text(arguments, "--matmul", s.matmul, {"mkl", "onednn"});
  take_number(arguments, "--classes", s.classes);
  take_number(arguments, "--batch", s.batch);
  take_number(arguments, "--threads", s.threads);
  return s;
}

Settings take_settings(std::vector<std::string>& arguments) {
  auto s = take_common_settings(arguments);
  take_text(arguments, "--rule", s.rule);
  take_text(arguments, "--model", s.model, models());
  take_text(arguments, "--path", s.path, {"auto", "generic", "closed_form", "constant_memory"});
  take_text(arguments, "--precision", s.precision, {"float32", "bf16"});
  take_text(arguments, "--nets", s.nets, {"learn", "fixed"});
  take_number(arguments, "--width", s.width);
  take_number(arguments, "--blocks", s.blocks);
  return s;
}

void check_all_taken(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) throw creditlib::Error("there is no flag " + arguments.front());
}

}  // namespace bench
