#include "support/weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <map>
#include <set>

#include "support/methods.hpp"

namespace support {

using creditlib::Error;
using creditlib::detail::shape_text;

std::vector<torch::Tensor> feedback_of(const creditlib::io::Safetensors& file, const std::string& method) {
  std::vector<torch::Tensor> feedback;
  for (;;) {
    const auto end = fmt::format(".feedback.{}", feedback.size());
    const auto found = std::ranges::find_if(file.tensors, [&](const auto& entry) {
      return entry.first.starts_with(method + ".") && entry.first.ends_with(end);
    });
    if (found == file.tensors.end()) return feedback;
    feedback.push_back(found->second);
  }
}

void load_weights(torch::nn::Module& model, const creditlib::io::Safetensors& file, const std::filesystem::path& path) {
  std::map<std::string, torch::Tensor> named(file.tensors.begin(), file.tensors.end());
  for (const auto& rule : method_names()) {
    std::erase_if(named, [&](const auto& entry) { return entry.first.starts_with(rule + "."); });
  }
  std::vector<std::pair<torch::Tensor, torch::Tensor>> copies;
  const auto take = [&](const std::string& name, const torch::Tensor& into) {
    const auto found = named.find(name);
    if (found == named.end()) throw Error(fmt::format("{} has no {}; it is of another model.", path.string(), name));
    if (found->second.sizes() != into.sizes()) {
      throw Error(fmt::format("{} has {} as {}, the model as {}; it is of another model.", path.string(), name,
                              shape_text(found->second.sizes()), shape_text(into.sizes())));
    }
    copies.emplace_back(into, found->second);
    named.erase(found);
  };
  for (const auto& entry : model.named_parameters()) take(entry.key(), entry.value());
  for (const auto& entry : model.named_buffers()) take(entry.key(), entry.value());
  if (!named.empty())
    throw Error(fmt::format("{} has {}, which the model has not; it is of another model.", path.string(),
                            named.begin()->first));
  const torch::NoGradGuard no_grad;
  for (auto& [into, from] : copies) into.copy_(from);
}

void save_weights(const std::filesystem::path& path, torch::nn::Module& model, const std::string& method,
                  const creditlib::NamedTensors& credit_tensors, const std::map<std::string, std::string>& about) {
  creditlib::NamedTensors tensors;
  for (const auto& entry : model.named_parameters()) tensors.emplace_back(entry.key(), entry.value());
  for (const auto& entry : model.named_buffers()) tensors.emplace_back(entry.key(), entry.value());
  for (auto& entry : creditlib::prefixed(method, credit_tensors)) tensors.push_back(entry);
  creditlib::io::write_safetensors(path, tensors, about);
}

}  // namespace support
