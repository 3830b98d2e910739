// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>

#include <creditlib/io/safetensors.hpp>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

/// Weights of a run in one safetensors file: parameters and buffers by their names, what the rule has of its own under
/// the rule's name ("dfa.feedback.0", "vec.nets.0.ln.weight", …).
namespace support {

/// Copies a file's weights into the model. Throws Error for a missing parameter or another shape; what is neither the
/// model's nor of a rule of the registry is an Error too.
void load_weights(torch::nn::Module& model, const creditlib::io::Safetensors& file, const std::filesystem::path& path);

/// Copies what a file has of a rule, under its name, into that rule's own tensors (a trainer's credit_tensors());
/// nothing where the file has nothing of it. Throws Error where it has a part of them alone, or another shape.
void load_rule(const creditlib::NamedTensors& credit_tensors, const std::string& rule,
               const creditlib::io::Safetensors& file, const std::filesystem::path& path);

/// Whether the file's feedback of a rule has one row for each of `elements` numbers of h_1, not one a channel.
bool has_feedback_by_element(const creditlib::io::Safetensors& file, const std::string& rule, std::int64_t elements);

void save_weights(const std::filesystem::path& path, torch::nn::Module& model, const std::string& method,
                  const creditlib::NamedTensors& credit_tensors, const std::map<std::string, std::string>& about);

}  // namespace support
