// SPDX-License-Identifier: Apache-2.0
#include "language_model/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <creditlib/error.hpp>
#include <fstream>
#include <iterator>

#include "support/checksum.hpp"

namespace language_model {
namespace {

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw creditlib::Error(fmt::format("{} cannot be read.", std::filesystem::absolute(path).string()));
  return text;
}

/// The windows that begin at `starts`, and the characters that follow each.
Batch windows(const torch::Tensor& ids, const torch::Tensor& starts, std::int64_t context) {
  const auto at = starts.unsqueeze(1) + torch::arange(context);
  return {ids.index({at}), ids.index({at + 1})};
}

}  // namespace

Text::Text(const std::filesystem::path& path, std::int64_t context) : context_(context) {
  const auto text = contents(path);
  checksum_ = support::checksum(text);
  characters_ = text;
  std::sort(characters_.begin(), characters_.end());
  characters_.erase(std::unique(characters_.begin(), characters_.end()), characters_.end());
  if (characters_.size() < 2) {
    throw creditlib::Error(
        fmt::format("{} has fewer than two different characters: there is nothing to predict.", path.string()));
  }
  const auto size = static_cast<std::int64_t>(text.size());
  auto ids = torch::empty({size}, torch::kInt64);
  std::transform(text.begin(), text.end(), ids.data_ptr<std::int64_t>(),
                 [&](char c) { return static_cast<std::int64_t>(characters_.find(c)); });
  validation_ = ids.narrow(0, size - size / 10, size / 10);
  train_ = ids.narrow(0, 0, size - size / 10);
  if (validation_.numel() <= context) {
    throw creditlib::Error(
        fmt::format("{} has {} characters, of which the last tenth, {}, is for validation: too few for a window of {} "
                    "and the next one. Use a longer text, or a smaller --context.",
                    path.string(), size, validation_.numel(), context));
  }
}

Batch Text::drawn(std::int64_t batch_size, at::Generator& generator) const {
  const auto starts = torch::randint(0, train_.numel() - context_, {batch_size}, generator, torch::kInt64);
  return windows(train_, starts, context_);
}

std::vector<Batch> Text::validation(std::int64_t batch_size) const {
  const auto count = (validation_.numel() - 1) / context_;
  std::vector<Batch> batches;
  for (const auto& starts : (torch::arange(count) * context_).split(batch_size)) {
    batches.push_back(windows(validation_, starts, context_));
  }
  return batches;
}

std::int64_t Text::first_token() const {
  const auto found = characters_.find('\n');
  return found == std::string::npos ? 0 : static_cast<std::int64_t>(found);
}

std::string Text::decoded(const std::vector<std::int64_t>& ids) const {
  std::string text;
  for (const auto id : ids) text += characters_.at(static_cast<std::size_t>(id));
  return text;
}

}  // namespace language_model
