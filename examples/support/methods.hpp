// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/credit_point.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "registry/rules.hpp"
#include "support/trainer.hpp"
#include "support/workbench.hpp"

/// Trainers of the registry's methods (rules and the controls that they are judged by) on the registry's networks, by
/// the names of command lines.
namespace support {

/// What a method is trained with in addition to its name; make_trainer fills in `rule.epochs`, `rule.batch_size`
/// and `options.group`.
struct MethodSettings {
  creditlib::TrainerOptions options = {};
  double penalty = 0;  ///< times the batch mean of ||f_l||^2, added to each block's loss
  registry::RuleSettings rule = {};
};

/// The trainer of a rule, by its name, on a model. Throws UsageError for a name that no rule has.
///
/// It is defined in method_trainers.hpp and takes long to compile, so each model and objective has a file with its
/// instance: methods_*.cpp, and files of single programs.
template <class Model, class Objective = creditlib::CrossEntropy>
Trainer rule_trainer(const std::string& name, Model model, const MethodSettings& s, bool mean_over_positions,
                     const Objective& objective = {});

/// Keeps a model's blocks as they are: no trainer made from now on changes them.
template <class Model>
void freeze_blocks(Model& model) {
  for (std::int64_t l = 0; l < model->blocks(); ++l) {
    for (auto& parameter : model->block_parameters(l)) parameter.requires_grad_(false);
  }
}

/// Keeps what the control keeps as it is: its blocks, its embed.
template <class Model>
void freeze(Model& model, const registry::Control& control) {
  if (control.fixes_blocks) freeze_blocks(model);
  if (!control.fixes_embed) return;
  for (auto& parameter : model->embed_parameters()) parameter.requires_grad_(false);
}

/// A network of `arch` for the workbench's data, initialized from LibTorch's global generator, with `width` and
/// `blocks` other than the arch's if they are > 0 (MLPs alone); its weights replaced from `init_from` if that
/// is not empty, and with them what the method has there of its own; with the trainer of `method` on it. Throws
/// UsageError for a method that the network or the data cannot be trained with.
Trainer make_trainer(const std::string& arch, const std::string& method, const Workbench& bench,
                     MethodSettings settings, const std::string& init_from = {}, std::int64_t width = 0,
                     std::int64_t blocks = 0);

std::vector<std::string> arch_names();
/// "resmlp (d=256, L=4), ...": for --help.
std::string archs_text();
/// Whether a network takes images as (B, C * H * W).
bool takes_flat_images(const std::string& arch);
/// Whether a network has a readout that takes h_0 too, as the control shallow does.
bool has_shallow(const std::string& arch);

/// The rule that trains a method, which names what the method has of its own in files of weights: "dfa" for frozen.
std::string rule_name(const std::string& method);

}  // namespace support
