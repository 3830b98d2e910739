#pragma once

#include <torch/csrc/jit/serialization/pickle.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/io/atomic_file.hpp>
#include <creditlib/named_tensors.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace creditlib::detail {

/// Writes the tensors, whole or not at all, as a tuple of (name, tensor) in LibTorch's own format, which Python reads
/// with `dict(torch.load(path))`.
inline void save_tensors(const std::filesystem::path& path, const NamedTensors& named) {
  std::set<std::string> names;
  std::vector<c10::IValue> entries;
  for (const auto& [name, tensor] : named) {
    if (!names.insert(name).second) fail("Two tensors of the checkpoint are called ", name, "; names must differ.");
    entries.emplace_back(c10::ivalue::Tuple::create(name, tensor.detach().cpu().clone()));
  }
  const auto bytes = torch::jit::pickle_save(c10::ivalue::Tuple::create(std::move(entries)));
  io::write_atomically(path, std::string_view(bytes.data(), bytes.size()));
}

inline std::map<std::string, torch::Tensor> load_tensors(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("Checkpoint ", path.string(), " cannot be read; is the path right?");
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::map<std::string, torch::Tensor> named;
  try {
    const auto value = torch::jit::pickle_load(bytes);
    for (const auto& entry : value.toTupleRef().elements()) {
      const auto& pair = entry.toTupleRef().elements();
      named.emplace(pair.at(0).toStringRef(), pair.at(1).toTensor());
    }
  } catch (const std::exception&) {
    fail("Checkpoint ", path.string(), " (", bytes.size(), " bytes) is not one that a trainer saved, or is damaged.");
  }
  return named;
}

/// Copies a checkpoint's tensors in place into a trainer's, after it has made sure that all of them fit: nothing is
/// half done. `required` are matched by name and shape, and nothing else may be in the file.
inline void restore_tensors(const std::filesystem::path& path, const NamedTensors& required) {
  const auto saved = load_tensors(path);
  std::set<std::string> known;
  for (const auto& [name, tensor] : required) {
    known.insert(name);
    if (!saved.count(name))
      fail("Checkpoint ", path.string(), " has no ", name, "; it is of another model or another credit source.");
  }
  for (const auto& [name, tensor] : saved) {
    if (!known.count(name)) {
      fail("Checkpoint ", path.string(), " has ", name,
           ", which the trainer has not; it is of another model or another credit source.");
    }
  }
  for (const auto& [name, tensor] : required) {
    const auto& found = saved.at(name);
    if (found.sizes() != tensor.sizes()) {
      fail("Checkpoint ", path.string(), " has ", name, " as ", shape_text(found.sizes()), ", the trainer as ",
           shape_text(tensor.sizes()), "; it is of another model or another credit source.");
    }
    if (found.is_floating_point() != tensor.is_floating_point()) {
      fail("Checkpoint ", path.string(), " has ", name, " as ", tensor_text(found), ", the trainer as ",
           tensor_text(tensor), ".");
    }
  }
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : required) torch::Tensor(tensor).copy_(saved.at(name));
}

}  // namespace creditlib::detail
