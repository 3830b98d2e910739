// SPDX-License-Identifier: Apache-2.0
#include "support/weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <iterator>
#include <map>

#include "registry/rules.hpp"
#include "support/processes.hpp"

namespace support {

using creditlib::Error;
using creditlib::NamedTensors;
using creditlib::detail::shape_text;

namespace {

/// Tensors of a file by name, taken one after the other into tensors of a model or a rule; copied by finish() alone.
class Taker {
 public:
  Taker(NamedTensors tensors, const std::filesystem::path& path, std::string into)
      : named_(tensors.begin(), tensors.end()), path_(path.string()), into_(std::move(into)) {}

  void take(const std::string& name, const torch::Tensor& into) {
    const auto found = named_.find(name);
    if (found == named_.end()) throw Error(fmt::format("{} has no {}; it is of another {}.", path_, name, into_));
    if (found->second.sizes() != into.sizes()) {
      throw Error(fmt::format("{} has {} as {}, the {} as {}; it is of another {}.", path_, name,
                              shape_text(found->second.sizes()), into_, shape_text(into.sizes()), into_));
    }
    copies_.emplace_back(into, found->second);
    named_.erase(found);
  }

  void finish() {
    if (!named_.empty())
      throw Error(fmt::format("{} has {}, which the {} has not; it is of another {}.", path_, named_.begin()->first,
                              into_, into_));
    const torch::NoGradGuard no_grad;
    for (auto& [into, from] : copies_) into.copy_(from);
  }

 private:
  std::map<std::string, torch::Tensor> named_;
  std::string path_, into_;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> copies_;
};

NamedTensors of_rule(const creditlib::io::Safetensors& file, const std::string& rule) {
  NamedTensors tensors;
  std::ranges::copy_if(file.tensors, std::back_inserter(tensors),
                       [&](const auto& entry) { return entry.first.starts_with(rule + "."); });
  return tensors;
}

}  // namespace

void load_weights(torch::nn::Module& model, const creditlib::io::Safetensors& file, const std::filesystem::path& path) {
  auto tensors = file.tensors;
  for (const auto& rule : registry::method_names()) {
    std::erase_if(tensors, [&](const auto& entry) { return entry.first.starts_with(rule + "."); });
  }
  Taker taker(std::move(tensors), path, "model");
  for (const auto& entry : model.named_parameters()) taker.take(entry.key(), entry.value());
  for (const auto& entry : model.named_buffers()) taker.take(entry.key(), entry.value());
  taker.finish();
}

void load_rule(const NamedTensors& credit_tensors, const std::string& rule, const creditlib::io::Safetensors& file,
               const std::filesystem::path& path) {
  auto tensors = of_rule(file, rule);
  if (tensors.empty()) return;
  Taker taker(std::move(tensors), path, rule);
  for (const auto& [name, tensor] : creditlib::prefixed(rule, credit_tensors)) taker.take(name, tensor);
  taker.finish();
}

bool has_feedback_by_element(const creditlib::io::Safetensors& file, const std::string& rule, std::int64_t elements) {
  return std::ranges::any_of(of_rule(file, rule), [&](const auto& entry) {
    return entry.first.ends_with("feedback.1") && entry.second.dim() == 2 && entry.second.size(0) == elements;
  });
}

void save_weights(const std::filesystem::path& path, torch::nn::Module& model, const std::string& method,
                  const NamedTensors& credit_tensors, const std::map<std::string, std::string>& about) {
  if (!leads()) return;
  NamedTensors tensors;
  for (const auto& entry : model.named_parameters()) tensors.emplace_back(entry.key(), entry.value());
  for (const auto& entry : model.named_buffers()) tensors.emplace_back(entry.key(), entry.value());
  for (auto& entry : creditlib::prefixed(method, credit_tensors)) tensors.push_back(entry);
  creditlib::io::write_safetensors(path, tensors, about);
}

}  // namespace support
