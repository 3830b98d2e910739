// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>

#include <concepts>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/io/detail/fitting_tensors.hpp>
#include <creditlib/io/detail/stored_tensors.hpp>
#include <creditlib/io/loaded_weights.hpp>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {
namespace io {

struct LoadWeightsOptions {
  /// Whether any difference between file and module is an Error. If not, what fits is loaded and the rest is returned.
  bool strict = true;
  /// Only the file's tensors whose names begin with this are taken, and without it: "model.".
  std::string prefix = {};
  /// From the file's names, without the prefix, to the module's. A key is a whole name ("fc.weight") or the beginning of
  /// names up to a dot ("fc", for fc.weight and fc.bias); the longest one that matches is replaced. The empty key is the
  /// beginning of all names, and an empty value takes a beginning away.
  std::map<std::string, std::string> rename = {};
};

}  // namespace io

namespace detail {

/// `name` after its longest beginning in `rename` is replaced. Adds the key to `used`.
inline std::string renamed(const std::string& name, const std::map<std::string, std::string>& rename,
                           std::set<std::string>& used) {
  auto end = name.size();
  while (true) {
    if (const auto found = rename.find(name.substr(0, end)); found != rename.end()) {
      used.insert(found->first);
      const auto& begin = found->second;
      const auto rest = end == 0 ? name : end == name.size() ? "" : name.substr(end + 1);
      return begin.empty() ? rest : rest.empty() ? begin : begin + "." + rest;
    }
    if (end == 0) return name;
    const auto dot = name.rfind('.', end - 1);
    end = dot == std::string::npos ? 0 : dot;
  }
}

/// The tensors of a file that begin with the prefix, by their names in the module.
inline std::map<std::string, StoredTensor> taken_tensors(const std::filesystem::path& path,
                                                         const io::LoadWeightsOptions& options) {
  std::map<std::string, StoredTensor> taken;
  std::set<std::string> used;
  for (auto& tensor : stored_tensors(path, options.prefix)) {
    if (!tensor.name.starts_with(options.prefix)) continue;
    const auto name = renamed(tensor.name.substr(options.prefix.size()), options.rename, used);
    const auto [other, is_new] = taken.emplace(name, tensor);
    if (!is_new) {
      fail("load_weights: ", path, " has \"", other->second.name, "\" and \"", tensor.name, "\", which are both \"",
           name, "\" after renaming: give each its own name.");
    }
  }
  if (taken.empty()) {
    fail("load_weights: ", path, " has no tensor whose name begins with \"", options.prefix,
         "\": check the prefix, with its dot.");
  }
  for (const auto& [from, to] : options.rename) {
    if (!used.contains(from)) {
      fail("load_weights: ", path, " has no tensor to rename from \"", from, "\" to \"", to,
           "\": expected a whole name or the beginning of names before a dot, without the prefix.");
    }
  }
  return taken;
}

}  // namespace detail

namespace io {

/// Loads the parameters and buffers of a module by their names, in place: from a safetensors file, such as Python's
/// `safetensors.torch.save_file(model.state_dict(), path)` writes, from a sharded one by its index
/// (model.safetensors.index.json), or from a checkpoint of a trainer, whose weights have the prefix "model.".
///
///     io::load_weights(model, "model.safetensors");
///     const auto result = io::load_weights(model, "run.pt", {.strict = false, .prefix = "model."});  // a new head
///
/// - `module`: a torch::nn::Module, or a holder or a pointer of one. Storage, device and requires_grad stay.
/// - Nothing is broadcast: shapes must be equal. float64, float32, float16 and bfloat16 are converted into each other;
///   every other dtype must be equal.
/// - A parameter whose memory a loaded one covers, as of tied weights that a file holds once, is not missing.
/// - Throws Error if the file cannot be read; with `strict`, if the result is not complete; if no tensor fits; if a key
///   of `rename` matches no name, or two tensors get one name; if a number is beyond the range of the module's dtype; if
///   two tensors that share memory in the module differ in the file; if a tensor of the module has no memory of its own
///   for each element (meta, sparse, expanded). Nothing is loaded then.
inline LoadedWeights load_weights(const torch::nn::Module& module, const std::filesystem::path& path,
                                  const LoadWeightsOptions& options = {}) {
  return detail::translated([&] {
    auto taken = detail::taken_tensors(path, options);
    LoadedWeights result;
    std::vector<detail::FittingTensor> fitting;
    NamedTensors absent;
    for (const auto& [name, tensor] : detail::tensors_of(module)) {
      const auto found = taken.extract(name);
      if (found.empty()) {
        absent.emplace_back(name, tensor);
        continue;
      }
      const auto& stored = found.mapped();
      if (tensor.sizes() != torch::IntArrayRef(stored.shape)) {
        result.other_shape.push_back({name, stored.shape, tensor.sizes().vec()});
      } else if (!detail::converts(stored.dtype, tensor.scalar_type())) {
        result.other_dtype.push_back({name, stored.dtype_name, detail::dtype_text(tensor.scalar_type())});
      } else {
        fitting.push_back({name, tensor, stored.read, {}});
        result.loaded.push_back(name);
      }
    }
    for (const auto& [name, tensor] : absent) {
      if (!detail::is_covered(tensor, fitting)) result.missing.push_back(name);
    }
    for (const auto& [name, stored] : taken) result.left_over.push_back(stored.name);
    if (options.strict && !result.complete()) {
      detail::fail("load_weights: ", path, " does not fit the module, and nothing is loaded: ", result.differences(),
                   ". Set prefix or rename if names differ, or strict = false to load what fits.");
    }
    if (fitting.empty()) {
      detail::fail("load_weights: no tensor of ", path, " fits the module: ", result.differences(),
                   ". Set prefix or rename if names differ.");
    }
    detail::load_fitting(fitting, path);
    return result;
  });
}

/// The same, of a holder or a pointer, such as `model` or `model.ptr()`.
template <class Pointer>
  requires requires(Pointer pointer) {
    { *pointer } -> std::convertible_to<const torch::nn::Module&>;
    static_cast<bool>(pointer);
  }
LoadedWeights load_weights(const Pointer& module, const std::filesystem::path& path,
                           const LoadWeightsOptions& options = {}) {
  if (!module) detail::fail("load_weights: the module is empty (nullptr): make it first.");
  return load_weights(*module, path, options);
}

}  // namespace io
}  // namespace creditlib
