// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/concepts.hpp>
#include <creditlib/diagnostics/parameter_gradients.hpp>
#include <creditlib/diagnostics/trial_step.hpp>
#include <creditlib/diagnostics/updated_parts.hpp>
#include <creditlib/error.hpp>
#include <creditlib/scope/untouched.hpp>
#include <cstdint>
#include <vector>

namespace creditlib::detail {

/// A rule's update on one batch, restricted to some parts of the model, and the loss: shared by both kinds of update
/// utility.
template <class Model, class Update, class Objective>
class UpdateTrial {
 public:
  UpdateTrial(Model& model, const Update& update, const diagnostics::UpdatedParts& parts, const Objective& objective)
      : model_(model),
        update_(update),
        objective_(objective),
        positions_(diagnostics::parameter_positions(model)),
        moved_(positions_.all().size()),
        all_draw_the_same_(
            *model, positions_.all().empty() ? torch::Device(torch::kCPU) : model->parameters().front().device()) {
    parts.check(static_cast<std::int64_t>(positions_.blocks.size()));
    const auto move = [&](const std::vector<std::size_t>& positions) {
      for (const auto i : positions) moved_[i] = true;
    };
    if (parts.embed) move(positions_.embed);
    if (parts.readout) move(positions_.readout);
    for (std::size_t l = 0; l < positions_.blocks.size(); ++l) {
      const auto block = static_cast<std::int64_t>(l);
      if (!parts.blocks || std::find(parts.blocks->begin(), parts.blocks->end(), block) != parts.blocks->end()) {
        move(positions_.blocks[l]);
      }
    }
  }

  /// The update on this batch at the present parameters; undefined for parameters that it does not move.
  std::vector<torch::Tensor> operator()(const torch::Tensor& x, const torch::Tensor& y) const {
    std::vector<torch::Tensor> update = update_(x, y);
    diagnostics::check_gradient_count("update utility", positions_, update);
    for (std::size_t i = 0; i < update.size(); ++i) {
      if (!moved_[i]) update[i].reset();
    }
    return update;
  }

  double loss(const torch::Tensor& x, const torch::Tensor& y) const {
    return diagnostics::mean_loss(model_, x, y, objective_);
  }

  /// The update of the moved parameters as one vector.
  static torch::Tensor flat(const std::vector<torch::Tensor>& update) {
    std::vector<torch::Tensor> parts;
    for (const auto& u : update) {
      if (u.defined()) parts.push_back(u.detach().flatten());
    }
    if (parts.empty()) fail("update utility: the update moves no parameter.");
    return at::cat(parts);
  }

 private:
  Model& model_;
  const Update& update_;
  const Objective& objective_;
  diagnostics::ParameterPositions positions_;
  std::vector<bool> moved_;
  scope::Untouched all_draw_the_same_;  ///< losses are compared: no other thread's draws come between them
};

}  // namespace creditlib::detail
