// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <creditlib/error.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/model_case.hpp>
#include <creditlib/testing/small_models.hpp>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "test.hpp"

/// Small models and batches for them, the same numbers at every call.
namespace creditlib::test {

/// The models of creditlib/testing/small_models.hpp, by their names.
enum class Kind { residual_mlp, plain, batch_norm, dropout, conv, sequence, tokens, no_embed };
inline const std::vector<Kind> every_kind{Kind::residual_mlp, Kind::plain,    Kind::batch_norm, Kind::dropout,
                                          Kind::conv,         Kind::sequence, Kind::tokens,     Kind::no_embed};

inline std::string name(Kind kind) {
  switch (kind) {
    case Kind::residual_mlp: return "residual_mlp";
    case Kind::plain: return "plain";
    case Kind::batch_norm: return "batch_norm";
    case Kind::dropout: return "dropout";
    case Kind::conv: return "conv";
    case Kind::sequence: return "sequence";
    case Kind::tokens: return "tokens";
    case Kind::no_embed: return "no_embed";
  }
  return "?";
}

inline constexpr std::int64_t small_classes = testing::small_classes;
using testing::Batch;

/// Whether a sample's hidden states depend on the other samples of its batch.
inline bool mixes_samples(Kind kind) {
  return kind == Kind::batch_norm || kind == Kind::conv || kind == Kind::sequence;
}

/// Whether a step can be computed by formula.
inline bool has_closed_form(Kind kind) {
  return kind == Kind::residual_mlp || kind == Kind::plain || kind == Kind::no_embed;
}

/// A SequentialBlocks of each kind; for residual_mlp, which is none, the plain one.
inline testing::ModelCase<SequentialBlocks> stages_case(Kind kind) {
  auto cases = testing::small_sequential_blocks();
  const auto wanted = name(kind == Kind::residual_mlp ? Kind::plain : kind);
  return *std::find_if(cases.begin(), cases.end(), [&](const auto& each) { return each.name == wanted; });
}

/// Weights that are not near 0, so that every part of the network matters.
template <class Model>
Model lively(Model model, torch::Dtype dtype) {
  model = detail::laws::lively(std::move(model));
  model->to(dtype);
  return model;
}

inline ResidualMLP residual_mlp(torch::Dtype dtype = torch::kFloat32, std::uint64_t weights_seed = 1) {
  return testing::small_residual_mlp().model(dtype, weights_seed);
}
inline SequentialBlocks stages(Kind kind, torch::Dtype dtype = torch::kFloat32, std::uint64_t weights_seed = 1) {
  return stages_case(kind).model(dtype, weights_seed);
}

inline Batch batch_for(Kind kind, torch::Dtype dtype = torch::kFloat32, std::int64_t size = 7,
                       std::uint64_t seed = 11) {
  if (kind == Kind::residual_mlp) return testing::small_residual_mlp().batch_of(dtype, size, seed);
  return stages_case(kind).batch_of(dtype, size, seed);
}

inline ResidualMLP small_model(torch::Dtype dtype = torch::kFloat32) { return residual_mlp(dtype); }
inline Batch small_batch(torch::Dtype dtype = torch::kFloat32) { return batch_for(Kind::residual_mlp, dtype); }

using detail::laws::copies;
using detail::laws::distance;
using detail::laws::global_generator_state;
using detail::laws::gradients_of;
using detail::laws::same;

/// The message of the creditlib::Error that `action` throws; other exceptions, and none, are said in words.
template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("(another exception) ") + error.what();
  }
  return "(nothing was thrown)";
}

/// Whether the message is one line and holds every part.
inline bool says(const std::string& message, std::initializer_list<std::string> parts) {
  UNSCOPED_INFO(message);  // shown where the check fails
  if (message.find('\n') != std::string::npos) return false;
  for (const auto& part : parts) {
    if (message.find(part) == std::string::npos) return false;
  }
  return true;
}

}  // namespace creditlib::test
