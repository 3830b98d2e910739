// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/serialization/import_read.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <creditlib/named_tensors.hpp>
#include <exception>
#include <filesystem>
#include <fstream>
#include <ios>
#include <istream>
#include <optional>
#include <string_view>
#include <system_error>

namespace creditlib::detail {

/// Whether a file begins as a zip archive, as checkpoints of trainers and files of torch.save do. No safetensors file
/// does: its header would be too long.
inline bool begins_as_archive(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  char record[4] = {};
  file.read(record, sizeof record);
  return file && std::string_view(record, sizeof record) == "PK\x03\x04";
}

/// The tensors of a trainer's checkpoint, a tuple of (name, tensor) in LibTorch's own format.
///
/// - A file that was cut off has no last record, and is refused before LibTorch reads it: it would read on in memory that
///   is not the file's. It is read from a stream, since LibTorch's own stream reader leaks.
/// - Nothing if it is another archive, or is damaged.
inline std::optional<NamedTensors> read_tensor_archive(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  constexpr std::streamoff last = 22;
  char record[last] = {};
  file.seekg(-last, std::ios::end);
  file.read(record, last);
  const bool whole = file && std::string_view(record, 4) == "PK\x05\x06";
  file.clear();
  file.seekg(0);
  if (!whole) return std::nullopt;
  NamedTensors named;
  try {
    caffe2::serialize::PyTorchStreamReader reader(&file);
    const auto value =
        torch::jit::readArchiveAndTensors("data", "", "", std::nullopt, std::nullopt, std::nullopt, reader);
    for (const auto& entry : value.toTupleRef().elements()) {
      const auto& pair = entry.toTupleRef().elements();
      named.emplace_back(pair.at(0).toStringRef(), pair.at(1).toTensor());
    }
  } catch (const std::exception&) {
    return std::nullopt;
  }
  return named;
}

}  // namespace creditlib::detail
