// SPDX-License-Identifier: Apache-2.0
#include "support/verify.hpp"

#include <creditlib/error.hpp>
#include <creditlib/io/safetensors.hpp>
#include <utility>

#include "support/stepper.hpp"

namespace bench {

void verify(const Settings& settings, const std::string& from, const std::string& to) {
  Start start;
  torch::Tensor x, y;
  const auto file = creditlib::io::read_safetensors(from);
  for (const auto& [name, tensor] : file.tensors) {
    if (name == "x") {
      x = tensor;
    } else if (name == "y") {
      y = tensor;
    } else if (name.starts_with("weights.")) {
      start.weights.emplace_back(name.substr(8), tensor);
    } else if (name.starts_with("credit.")) {
      start.credit.emplace_back(name.substr(7), tensor);
    }
  }
  if (!x.defined() || !y.defined() || start.weights.empty())
    throw creditlib::Error(from + " has no x, no y or no weights");

  auto trainer = std::move(make_stepper(settings, start).trainer);
  const auto device = torch::Device(settings.device);
  creditlib::NamedTensors results;
  const auto gradients = trainer.gradients(x[0].to(device), y[0].to(device));
  const auto parameters = trainer.named_parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (gradients[i].defined()) results.emplace_back("gradient." + parameters[i].first, gradients[i]);
  }
  for (std::int64_t n = 0; n < x.size(0); ++n) trainer.step(x[n].to(device), y[n].to(device));
  for (const auto& [name, values] : creditlib::prefixed("weights", trainer.named_parameters()))
    results.emplace_back(name, values.detach());
  creditlib::io::write_safetensors(to, results);
}

}  // namespace bench
