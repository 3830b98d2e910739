#include "support/settings.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <creditlib/error.hpp>
#include <creditlib/process/matmul.hpp>
#include <utility>

namespace bench {
namespace {

std::int64_t whole_number(const std::string& flag, const std::string& text) {
  std::size_t used = 0;
  std::int64_t number = 0;
  try {
    number = std::stoll(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != text.size() || number < 1)
    throw creditlib::Error(flag + " is " + text + ", expected a whole number of at least 1");
  return number;
}

}  // namespace

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
  at::set_num_threads(static_cast<int>(threads));
  creditlib::process::use_matmul(matmul == "onednn" ? creditlib::process::Matmul::OneDNN
                                                    : creditlib::process::Matmul::Default);
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

Settings take_settings(std::vector<std::string>& arguments) {
  Settings s;
  const std::vector<std::pair<std::string, std::string*>> texts{
      {"--rule", &s.rule},     {"--model", &s.model},   {"--path", &s.path}, {"--precision", &s.precision},
      {"--matmul", &s.matmul}, {"--device", &s.device}, {"--nets", &s.nets}};
  for (const auto& [flag, member] : texts) {
    if (const auto value = take_value(arguments, flag)) *member = *value;
  }
  const std::vector<std::pair<std::string, std::int64_t*>> numbers{{"--width", &s.width},
                                                                   {"--blocks", &s.blocks},
                                                                   {"--classes", &s.classes},
                                                                   {"--batch", &s.batch},
                                                                   {"--threads", &s.threads}};
  for (const auto& [flag, member] : numbers) {
    if (const auto value = take_value(arguments, flag)) *member = whole_number(flag, *value);
  }
  const auto check = [](const char* flag, const std::string& value, const std::vector<std::string>& allowed) {
    if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return;
    std::string names;
    for (const auto& name : allowed) names += (names.empty() ? "" : ", ") + name;
    throw creditlib::Error(std::string(flag) + " is " + value + ", expected one of " + names);
  };
  check("--model", s.model, {"resmlp", "cnn", "resnet", "vit"});
  check("--path", s.path, {"auto", "generic", "closed_form", "constant_memory"});
  check("--precision", s.precision, {"float32", "bf16"});
  check("--matmul", s.matmul, {"mkl", "onednn"});
  check("--nets", s.nets, {"learn", "fixed"});
  return s;
}

void check_all_taken(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) throw creditlib::Error("there is no flag " + arguments.front());
}

}  // namespace bench
