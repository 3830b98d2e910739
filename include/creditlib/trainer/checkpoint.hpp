// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/jit/serialization/pickle.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/io/atomic_file.hpp>
#include <creditlib/io/detail/tensor_archive.hpp>
#include <creditlib/named_tensors.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace creditlib::detail {

/// Writes the tensors, completely or not at all, as a tuple of (name, tensor) in LibTorch's own format, which Python reads
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
  std::error_code unknown;
  const auto bytes = std::filesystem::file_size(path, unknown);
  if (unknown || !std::ifstream(path)) fail("Checkpoint ", path.string(), " cannot be read; is the path right?");
  const auto saved = read_tensor_archive(path);
  if (!saved) {
    fail("Checkpoint ", path.string(), " (", bytes, " bytes) is not one that a trainer saved, or is damaged.");
  }
  return {saved->begin(), saved->end()};
}

/// A state that is read as a whole, not copied into: `read` throws, and has changed nothing, if it cannot.
struct SerializedState {
  std::string name;
  std::function<void(const torch::Tensor&)> read;
};

/// Copies a checkpoint's tensors in place into a trainer's, after it has made sure that all of them fit: nothing is
/// half done. `required` are matched by name and shape, and nothing else may be in the file but `added`, which earlier
/// versions did not write: they become 0 if they are missing; `state`, if there is one; and `elsewhere`, which must be
/// there and are for other processes.
inline void restore_tensors(const std::filesystem::path& path, const NamedTensors& required,
                            const NamedTensors& added = {}, const std::optional<SerializedState>& state = {},
                            const std::set<std::string>& elsewhere = {}) {
  const char* const other = "; it is of another model, credit source, optimizer or rate.";
  const auto saved = load_tensors(path);
  std::set<std::string> known;
  const auto require = [&](const std::string& name) {
    known.insert(name);
    if (!saved.contains(name)) fail("Checkpoint ", path.string(), " has no ", name, other);
  };
  for (const auto& [name, tensor] : required) require(name);
  for (const auto& name : elsewhere) require(name);
  for (const auto& [name, tensor] : added) known.insert(name);
  if (state) require(state->name);
  for (const auto& [name, tensor] : saved) {
    if (!known.contains(name)) {
      fail("Checkpoint ", path.string(), " has ", name, ", which the trainer does not have", other);
    }
  }
  const auto check_fit = [&](const std::string& name, const torch::Tensor& tensor) {
    const auto& found = saved.at(name);
    if (found.sizes() != tensor.sizes()) {
      fail("Checkpoint ", path.string(), " has ", name, " as ", shape_text(found.sizes()), ", the trainer as ",
           shape_text(tensor.sizes()), other);
    }
    if (found.is_floating_point() != tensor.is_floating_point()) {
      fail("Checkpoint ", path.string(), " has ", name, " as ", tensor_text(found), ", the trainer as ",
           tensor_text(tensor), ".");
    }
  };
  for (const auto& [name, tensor] : required) check_fit(name, tensor);
  for (const auto& [name, tensor] : added) {
    if (saved.contains(name)) check_fit(name, tensor);
  }
  if (state) {
    try {
      state->read(saved.at(state->name));
    } catch (const std::exception& error) {
      const std::string reason = error.what();
      fail("Checkpoint ", path.string(), " has ", state->name, ", which the trainer cannot read", other, " (",
           reason.substr(0, reason.find('\n')), ")");
    }
  }
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : required) torch::Tensor(tensor).copy_(saved.at(name));
  for (const auto& [name, tensor] : added) {
    if (saved.contains(name)) {
      torch::Tensor(tensor).copy_(saved.at(name));
    } else {
      torch::Tensor(tensor).zero_();
    }
  }
}

}  // namespace creditlib::detail
