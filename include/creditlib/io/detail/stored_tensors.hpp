// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/io/detail/tensor_archive.hpp>
#include <creditlib/io/input_file.hpp>
#include <creditlib/io/json_file.hpp>
#include <creditlib/io/safetensors_file.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A tensor of a file of weights, which is read when it is asked for.
struct StoredTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::optional<torch::ScalarType> dtype;  // none if LibTorch does not have it
  std::string dtype_name;
  std::function<torch::Tensor()> read;
};

inline std::vector<StoredTensor> stored_in_safetensors(const std::filesystem::path& path) {
  const auto file = std::make_shared<io::SafetensorsFile>(path, "load_weights");
  std::vector<StoredTensor> stored;
  for (const auto& name : file->names()) {
    const auto dtype = file->dtype(name);
    stored.push_back({name, file->shape(name), dtype, dtype ? dtype_text(*dtype) : file->dtype_name(name),
                      [file, name] { return file->tensor(name); }});
  }
  return stored;
}

inline std::vector<StoredTensor> stored_in_checkpoint(const std::filesystem::path& path) {
  const auto saved = read_tensor_archive(path);
  if (!saved) {
    fail("load_weights: ", path, " is an archive, but not a checkpoint that a trainer saved, or it is damaged: save ",
         "weights from Python with safetensors.torch.save_file.");
  }
  std::vector<StoredTensor> stored;
  for (const auto& [name, tensor] : *saved) {
    stored.push_back({name, tensor.sizes().vec(), tensor.scalar_type(), dtype_text(tensor.scalar_type()),
                      [copy = tensor] { return copy; }});
  }
  return stored;
}

/// The file of each tensor, by an index of Hugging Face: {"weight_map": {"embed.weight": "model-00001-of-00002.safetensors"}}.
inline std::map<std::string, std::string> read_weight_map(const io::InputFile& index) {
  const auto json = io::read_json(index.path());
  if (!json.is_object() || !json.contains("weight_map") || !json.at("weight_map").is_object()) {
    index.fail("has no object \"weight_map\": it is not the index of a sharded safetensors file");
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, value] : json.at("weight_map").items()) {
    const auto file = value.is_string() ? value.template get<std::string>() : "";
    if (file.empty() || file.find('/') != std::string::npos || file == "." || file == "..") {
      index.fail("maps \"", name, "\" to ", value.is_string() ? value.dump() : value.type_name(),
                 ", expected the name of a file in its own folder");
    }
    files.emplace(name, file);
  }
  return files;
}

/// The tensors of a sharded file by its index. Only shards that have a name with this prefix are opened, each once.
inline std::vector<StoredTensor> stored_in_shards(const std::filesystem::path& path, const std::string& prefix) {
  const io::InputFile index("load_weights", path);
  const auto file_of = read_weight_map(index);
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [name, file] : file_of) {
    auto& names = shards[file];
    if (name.starts_with(prefix)) names.push_back(name);
  }
  std::vector<StoredTensor> stored;
  for (const auto& [file, names] : shards) {
    if (names.empty()) continue;
    const auto shard = path.parent_path() / file;
    if (!std::filesystem::exists(shard)) {
      index.fail("has the tensor \"", names.front(), "\" in ", shard, ", which cannot be found: put all ",
                 shards.size(), " files of the index into its folder");
    }
    std::map<std::string, StoredTensor> found;
    for (auto& tensor : stored_in_safetensors(shard)) {
      const auto listed = file_of.find(tensor.name);
      if (listed == file_of.end() || listed->second != file) {
        index.fail("does not have the tensor \"", tensor.name, "\" in ", shard,
                   ", which has it: they are not of one save");
      }
      found.emplace(tensor.name, std::move(tensor));
    }
    for (const auto& name : names) {
      if (!found.contains(name)) {
        index.fail("has the tensor \"", name, "\" in ", shard, ", which does not have it: they are not of one save");
      }
      stored.push_back(std::move(found.at(name)));
    }
  }
  return stored;
}

/// The tensors of a safetensors file, of a sharded one by its index (*.json), or of a trainer's checkpoint.
///
/// - Checkpoints are read by LibTorch, which does not check them as safetensors are checked. So a file that is called
///   safetensors is never taken for one.
inline std::vector<StoredTensor> stored_tensors(const std::filesystem::path& path, const std::string& prefix) {
  if (path.extension() == ".json") return stored_in_shards(path, prefix);
  const io::InputFile file("load_weights", path);
  if (!begins_as_archive(path)) return stored_in_safetensors(path);
  if (path.extension() == ".safetensors") {
    file.fail("is called safetensors, but is a zip archive, as torch.save and trainers write: check where it is from");
  }
  return stored_in_checkpoint(path);
}

}  // namespace creditlib::detail
