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

/// A method's feedback in `file`, "<method>.feedback.<l>" or, of a source in a Mix, "<method>.first.feedback.<l>", in
/// its order; empty where there is none.
std::vector<torch::Tensor> feedback_of(const creditlib::io::Safetensors& file, const std::string& method);

/// Copies a file's weights into the model. Throws Error for a missing parameter or another shape; what is neither the
/// model's nor of a rule (of method_names()) is an Error too.
void load_weights(torch::nn::Module& model, const creditlib::io::Safetensors& file, const std::filesystem::path& path);

void save_weights(const std::filesystem::path& path, torch::nn::Module& model, const std::string& method,
                  const creditlib::NamedTensors& credit_tensors, const std::map<std::string, std::string>& about);

}  // namespace support
