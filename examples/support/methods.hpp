#pragma once

#include <creditlib/credit/credit_point.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/credit/value_net.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "support/any_trainer.hpp"
#include "support/workbench.hpp"

/// The networks and training methods that programs name on their command lines.
namespace support {

/// resmlp, resmlp_d512_L2, vit, resnet, cnn.
const std::vector<std::string>& arch_names();
/// Rules (bp, fa, dfa, oracle, vec, value_net, state_predictor, ep) and the controls that they are judged by: frozen
/// (blocks fixed at their start, embed trained by DFA's credit), frozen_bp (embed by back-propagation), shallow (no
/// blocks).
const std::vector<std::string>& method_names();

/// Whether a network takes images as (B, C * H * W).
bool takes_flat_images(const std::string& arch);

/// Whether a network has a readout that takes h_0 too, as the control shallow does.
bool has_shallow(const std::string& arch);

/// What a method is trained with beside its name.
struct MethodSettings {
  creditlib::TrainerOptions options = {};
  double penalty = 0;  ///< times the batch mean of ||f_l||^2, added to each block's loss
  std::int64_t batch_size = 128;
  /// DFA with one row of feedback an element of a hidden state with positions, not one a channel.
  bool by_element = false;
  creditlib::Oracle oracle = {};
  creditlib::Vec vec = {};
  creditlib::ValueNet value_net = {};
  /// DFA's epochs before the value net's credit begins to be mixed in, over as many again; a fifth of all where it is <
  /// 0.
  std::int64_t warmup = -1;
  creditlib::StatePredictor state_predictor = {};
  creditlib::EquilibriumPropagation ep = {};

  /// Where the rules that estimate a gradient do so.
  void estimate_at(creditlib::CreditPoint at) { oracle.at = vec.at = value_net.at = state_predictor.at = at; }
};

/// A network of `arch` for the workbench's data, initialised from LibTorch's global generator, with `width` and
/// `blocks` other than the arch's where they are > 0 (residual MLPs alone); its weights replaced from `init_from` where
/// that is not empty, and with them what the method has there of its own; with the trainer of `method` on it. Throws
/// UsageError for a method that the network or the data cannot be trained with.
std::unique_ptr<AnyTrainer> make_trainer(const std::string& arch, const std::string& method, const Workbench& bench,
                                         MethodSettings settings, const std::string& init_from = {},
                                         std::int64_t width = 0, std::int64_t blocks = 0);

/// The name that what a method has of its own has in files of weights: "dfa" for frozen, whose embed DFA trains.
std::string rule_name(const std::string& method);

}  // namespace support
