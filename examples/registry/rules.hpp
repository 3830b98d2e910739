// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <creditlib/credit/channel_goodness.hpp>
#include <creditlib/credit/credit_point.hpp>
#include <creditlib/credit/decoupled_greedy.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/forward_dfa.hpp>
#include <creditlib/credit/forward_gradient.hpp>
#include <creditlib/credit/grape.hpp>
#include <creditlib/credit/kolen_pollack.hpp>
#include <creditlib/credit/layer_fa.hpp>
#include <creditlib/credit/local_error_signals.hpp>
#include <creditlib/credit/low_rank_feedback.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/mono_forward.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/sign_symmetry.hpp>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/credit/value_net.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/credit/weight_mirror.hpp>
#include <creditlib/normalizer/natural_normalizer.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/schedule/always.hpp>
#include <creditlib/schedule/warmup.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

/// The rules and networks that programs, benchmarks and tests know by name. A new rule is one line in `rules` below.
namespace registry {

/// What a rule is made with: what a program's flags or a benchmark's settings say of the rules.
struct RuleSettings {
  std::int64_t epochs = 100, batch_size = 128;
  /// DFA with one row of feedback per element of a hidden state with positions, not one per channel.
  bool by_element = false;
  creditlib::DirectKolenPollack dkp = {};
  creditlib::ForwardDFA fdfa = {};
  creditlib::GrAPE grape = {};
  creditlib::Oracle oracle = {};
  creditlib::Vec vec = {};
  creditlib::ValueNet value_net = {};
  /// DFA's epochs before the value net's credit begins to be mixed in, over as many again; a fifth of all if it is < 0.
  std::int64_t warmup = -1;
  creditlib::StatePredictor state_predictor = {};
  creditlib::EquilibriumPropagation ep = {};
  creditlib::KolenPollack kolen_pollack = {};
  creditlib::WeightMirror weight_mirror = {};
  creditlib::LowRankFeedback low_rank = {};
  creditlib::ForwardGradient forward_gradient = {};
  creditlib::LocalErrorSignals local_error_signals = {};

  /// Where the rules that estimate a gradient do so.
  void estimate_at(creditlib::CreditPoint at) { oracle.at = vec.at = value_net.at = state_predictor.at = at; }
};

/// What LocalTrainer is given for a rule.
template <class Credit, class Schedule = creditlib::Always, class Normalizer = creditlib::NaturalNormalizer<Credit>>
struct Parts {
  Credit credit;
  Schedule schedule = {};
  Normalizer normalizer = {};
};

/// Stands for BackpropTrainer where Parts stand for LocalTrainer.
struct Backprop {};

/// A rule's name, what it is in a few words, and its parts: make(RuleSettings) gives Parts or Backprop.
template <class Make>
struct Rule {
  const char* name;
  const char* what;
  Make make;
};

inline auto dfa(const RuleSettings& s, creditlib::Signal signal = creditlib::Signal::Error) {
  return creditlib::DFA{.by_element = s.by_element, .signal = signal};
}
/// Direct feedback that learns, with DFA's rows.
template <class Credit>
Credit with_rows_of_dfa(const RuleSettings& s, Credit credit) {
  credit.by_element = s.by_element;
  return credit;
}
inline auto normalized_dfa(const RuleSettings& s) {
  return creditlib::DFA{.by_element = s.by_element, .normalized = true};
}

inline auto local_error_signals(const RuleSettings& s, double beta) {
  auto rule = s.local_error_signals;
  rule.beta = beta;
  return rule;
}

/// DFA's credit first, then the rule's: the schedule of rules that need a network that has learned something.
template <class Credit>
auto after_warmup(const RuleSettings& s, const Credit& credit) {
  const std::int64_t epochs = s.warmup >= 0 ? s.warmup : std::max<std::int64_t>(1, s.epochs / 5);
  return Parts{creditlib::Mix{dfa(s), credit},
               creditlib::Warmup{.epochs = epochs, .ramp = std::max<std::int64_t>(1, epochs)}};
}

// The reference script's FA credit is the gradient of the batch mean under an absolute 1e-6: B times that for credit
// per sample.
inline auto fa_normalizer(const RuleSettings& s) {
  return creditlib::RowRms{.eps = 1e-6 * static_cast<double>(s.batch_size)};
}

/// All rules.
inline constexpr auto rules = std::tuple{
    Rule{"bp", "back-propagation", [](const RuleSettings&) { return Backprop{}; }},
    Rule{"fa", "feedback alignment",
         [](const RuleSettings& s) { return Parts{creditlib::FA{}, creditlib::Always{}, fa_normalizer(s)}; }},
    Rule{"dfa", "direct feedback alignment", [](const RuleSettings& s) { return Parts{dfa(s)}; }},
    Rule{"oracle", "the true gradient as credit", [](const RuleSettings& s) { return Parts{s.oracle}; }},
    Rule{"layer_fa", "feedback alignment at every layer",
         [](const RuleSettings&) { return Parts{creditlib::LayerFA{}}; }},
    Rule{"usf", "signs of the weights, one magnitude",
         [](const RuleSettings&) { return Parts{creditlib::SignSymmetry{creditlib::Magnitude::Uniform}}; }},
    Rule{"frsf", "signs of the weights, random magnitudes",
         [](const RuleSettings&) { return Parts{creditlib::SignSymmetry{creditlib::Magnitude::Fixed}}; }},
    Rule{"brsf", "signs of the weights, magnitudes drawn for each batch",
         [](const RuleSettings&) { return Parts{creditlib::SignSymmetry{creditlib::Magnitude::Redrawn}}; }},
    Rule{"kp", "Kolen and Pollack's feedback", [](const RuleSettings& s) { return Parts{s.kolen_pollack}; }},
    Rule{"wm", "weight mirror", [](const RuleSettings& s) { return Parts{s.weight_mirror}; }},
    Rule{"ldfa", "low-rank feedback", [](const RuleSettings& s) { return Parts{s.low_rank}; }},
    Rule{"sdfa", "DFA of the error's signs",
         [](const RuleSettings& s) { return Parts{dfa(s, creditlib::Signal::Sign)}; }},
    Rule{"raw_dfa", "DFA as it is, without a normalizer",
         [](const RuleSettings& s) { return Parts{dfa(s), creditlib::Always{}, creditlib::Raw{}}; }},
    Rule{"ndfa", "DFA whose credit has the norm of the error",
         [](const RuleSettings& s) { return Parts{normalized_dfa(s), creditlib::Always{}, creditlib::Raw{}}; }},
    Rule{"drtp", "direct random target projection",
         [](const RuleSettings& s) { return Parts{dfa(s, creditlib::Signal::Target)}; }},
    Rule{"dkp", "direct Kolen-Pollack", [](const RuleSettings& s) { return Parts{with_rows_of_dfa(s, s.dkp)}; }},
    Rule{"fdfa", "forward direct feedback alignment",
         [](const RuleSettings& s) { return Parts{with_rows_of_dfa(s, s.fdfa)}; }},
    Rule{"grape", "direct feedback turned toward the Jacobian",
         [](const RuleSettings& s) { return Parts{with_rows_of_dfa(s, s.grape)}; }},
    Rule{"vec", "a net that predicts the gradient", [](const RuleSettings& s) { return Parts{s.vec}; }},
    Rule{"value_net", "the gradient of a net that predicts the loss",
         [](const RuleSettings& s) { return after_warmup(s, s.value_net); }},
    Rule{"state_predictor", "the gradient of a net that predicts the last state",
         [](const RuleSettings& s) { return Parts{s.state_predictor}; }},
    Rule{"forward_gradient", "slopes along random directions",
         [](const RuleSettings& s) { return Parts{s.forward_gradient}; }},
    Rule{"ep", "equilibrium propagation", [](const RuleSettings& s) { return Parts{s.ep}; }},
    Rule{"local_error_signals", "prediction and similarity losses at every hidden state",
         [](const RuleSettings& s) { return Parts{s.local_error_signals}; }},
    Rule{"les_pred", "prediction losses at every hidden state",
         [](const RuleSettings& s) { return Parts{local_error_signals(s, 0)}; }},
    Rule{"les_sim", "similarity losses at every hidden state",
         [](const RuleSettings& s) { return Parts{local_error_signals(s, 1)}; }},
    Rule{"mono_forward", "a learned projection to classes at every hidden state",
         [](const RuleSettings&) { return Parts{creditlib::MonoForward{}}; }},
    Rule{"decoupled_greedy", "an auxiliary net at every hidden state",
         [](const RuleSettings&) { return Parts{creditlib::DecoupledGreedy{}}; }},
    Rule{"channel_goodness", "competition of a group of features per class",
         [](const RuleSettings&) { return Parts{creditlib::ChannelGoodness{}}; }},
};

/// What a rule is judged by: another training of the same network.
struct Control {
  const char* name;
  const char* what;
  const char* rule;  ///< that trains it
  bool fixes_blocks, fixes_embed, without_blocks;
};

inline constexpr Control controls[] = {
    {"frozen", "blocks fixed, embed by DFA's credit", "dfa", true, false, false},
    {"frozen_bp", "embed by bp", "bp", true, false, false},
    {"readout", "embed fixed too", "bp", true, true, false},
    {"shallow", "no blocks", "bp", false, false, true},
};

/// Calls visit(rule) with the rule of that name; whether there is one.
template <class Visit>
bool with_rule(std::string_view name, const Visit& visit) {
  return std::apply([&](const auto&... rule) { return ((name == rule.name && (visit(rule), true)) || ...); }, rules);
}

inline std::vector<std::string> rule_names() {
  return std::apply([](const auto&... rule) { return std::vector<std::string>{rule.name...}; }, rules);
}

/// The control of that name, or null.
inline const Control* control(std::string_view name) {
  for (const auto& one : controls) {
    if (name == one.name) return &one;
  }
  return nullptr;
}

/// Rules, then controls.
inline std::vector<std::string> method_names() {
  auto names = rule_names();
  for (const auto& one : controls) names.emplace_back(one.name);
  return names;
}

/// "bp, fa, ...; controls: frozen (blocks fixed, ...), ...": for --help.
inline std::string methods_text() {
  const auto listed = [](std::string& text, const std::string& name) { text += (text.empty() ? "" : ", ") + name; };
  std::string of_rules, of_controls;
  for (const auto& name : rule_names()) listed(of_rules, name);
  for (const auto& one : controls) listed(of_controls, std::string(one.name) + " (" + one.what + ")");
  return of_rules + "; controls: " + of_controls;
}

}  // namespace registry
