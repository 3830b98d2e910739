// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <torch/types.h>

#include <creditlib/data/batches.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace language_model {

using creditlib::data::Batch;

/// A file's characters as token ids, in two parts: the last tenth is for validation. A character is a byte, so one that
/// UTF-8 writes in several bytes is several.
class Text {
 public:
  /// Throws Error if the file cannot be read, if its characters are all the same, and if one of its parts is too short
  /// for a window of `context` characters and the next one.
  Text(const std::filesystem::path& path, std::int64_t context);

  /// V, the number of different characters.
  std::int64_t vocabulary() const { return static_cast<std::int64_t>(characters_.size()); }
  std::int64_t size() const { return train_.numel() + validation_.numel(); }
  /// A checksum of the whole file, 64-bit FNV-1a in hexadecimal.
  const std::string& checksum() const { return checksum_; }

  /// Windows (batch_size, context) from anywhere in the training part, and the characters that follow.
  Batch drawn(std::int64_t batch_size, at::Generator& generator) const;
  /// Windows of the validation part one after the other, without overlap, at most `batch_size` in a batch.
  std::vector<Batch> validation(std::int64_t batch_size) const;

  /// The id of a line's end, or of the first character if there are no lines.
  std::int64_t first_token() const;
  std::string decoded(const std::vector<std::int64_t>& ids) const;

 private:
  std::int64_t context_;
  std::string characters_, checksum_;
  torch::Tensor train_, validation_;
};

}  // namespace language_model
