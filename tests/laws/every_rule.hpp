// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/channel_goodness.hpp>
#include <creditlib/credit/decoupled_greedy.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/credit/drtp.hpp>
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
#include <creditlib/testing/detail/law.hpp>
#include <string>
#include <tuple>

#include "../models.hpp"
#include "../rules.hpp"
#include "../test.hpp"

/// The rules that the laws are about: all of the library, and some of a user's own.
namespace creditlib::test {

/// Whether all hidden states of a model have one shape, so that an estimate made at a block's input fits its output.
inline bool one_shape(Kind kind) { return kind == Kind::residual_mlp || kind == Kind::dropout || kind == Kind::tokens; }

// Rules of the library with options that are not their defaults: small nets and few steps, so that a law is quick, and
// other forms of a rule. A rule that cannot train every model says so with `refusal(kind)`: a part of its Error's
// message, or "" where it trains the model.

struct DFAByElement {
  template <class Model>
  DFA::State bind(Model& model, const BindContext& context) const {
    return DFA{.by_element = true}.bind(model, context);
  }
};

struct SignDFA {
  template <class Model>
  DFA::State bind(Model& model, const BindContext& context) const {
    return DFA{.signal = Signal::Sign}.bind(model, context);
  }
};

struct NormalizedDFA {
  template <class Model>
  DFA::State bind(Model& model, const BindContext& context) const {
    return DFA{.normalized = true}.bind(model, context);
  }
};

/// From random matrices: those of zeros give no credit at first, whatever the seed.
struct RandomDirectKolenPollack {
  template <class Model>
  DirectKolenPollack::State bind(Model& model, const BindContext& context) const {
    return DirectKolenPollack{.lr = 1e-2, .start = FeedbackStart::Random}.bind(model, context);
  }
};

struct RandomForwardDFA {
  template <class Model>
  ForwardDFA::State bind(Model& model, const BindContext& context) const {
    return ForwardDFA{.lr = 1e-2, .start = FeedbackStart::Random}.bind(model, context);
  }
};

struct OracleAtBlockInput {
  template <class Model>
  Oracle bind(Model&, const BindContext&) const {
    return {.at = CreditPoint::BlockInput};
  }
  static std::string refusal(Kind kind) { return one_shape(kind) ? "" : "The credit source gave credit "; }
};

struct SmallVec {
  template <class Model>
  Vec::State bind(Model& model, const BindContext& context) const {
    return Vec{.directions = 2, .hidden = 16, .layers = 1, .time = 4}.bind(model, context);
  }
};

struct SmallVecAtBlockInput {
  template <class Model>
  Vec::State bind(Model& model, const BindContext& context) const {
    return Vec{.directions = 2, .hidden = 16, .layers = 1, .time = 4, .at = CreditPoint::BlockInput}.bind(model,
                                                                                                          context);
  }
  static std::string refusal(Kind kind) { return one_shape(kind) ? "" : "Vec: .at = BlockInput drives block "; }
};

/// ValueNet with its loss alone, or with the terminal gradient matched.
template <bool matched>
struct SmallValueNet {
  template <class Model>
  ValueNet::State bind(Model& model, const BindContext& context) const {
    return ValueNet{.samples = 2, .terminal_gradient_weight = matched ? 0.1 : 0, .hidden = 16, .layers = 1, .time = 4}
        .bind(model, context);
  }
};

struct SmallStatePredictor {
  template <class Model>
  StatePredictor::State bind(Model& model, const BindContext& context) const {
    return StatePredictor{.hidden = 16, .layers = 1, .time = 4}.bind(model, context);
  }
};

/// EquilibriumPropagation, one-sided or centered. In its few steps the nudge reaches every state of the models, and is
/// far above float32's rounding.
template <bool centered>
struct ShortEquilibriumPropagation {
  template <class Model>
  EquilibriumPropagation::State bind(Model& model, const BindContext& context) const {
    return EquilibriumPropagation{.beta = 1, .steps = 8, .rate = 0.1, .centered = centered}.bind(model, context);
  }
  static std::string refusal(Kind kind) {
    return kind == Kind::dropout ? "EquilibriumPropagation: embed.1 is Dropout with p = 0.2" : "";
  }
};

template <Magnitude magnitude>
struct Signs {
  template <class Model>
  SignSymmetry::State bind(Model& model, const BindContext& context) const {
    return SignSymmetry{magnitude}.bind(model, context);
  }
};

/// Of rank 1, since full rank starts as the oracle.
template <bool reads_weights>
struct RankOne {
  template <class Model>
  LowRankFeedback::State bind(Model& model, const BindContext& context) const {
    return LowRankFeedback{.rank = 1, .reads_weights = reads_weights}.bind(model, context);
  }
};

struct PredLocalErrorSignals {
  template <class Model>
  LocalErrorSignals::State bind(Model& model, const BindContext& context) const {
    return LocalErrorSignals{.beta = 0}.bind(model, context);
  }
};

/// ChannelGoodness, which needs a feature per class.
struct Competition : ChannelGoodness {
  static std::string refusal(Kind kind) {
    const bool narrow = kind == Kind::plain || kind == Kind::batch_norm || kind == Kind::conv || kind == Kind::sequence;
    return narrow ? " has 3 features, fewer than the 4 classes" : "";
  }
};

/// All rules. A new one joins by one line.
using Rules = std::tuple<                //
    DFA,                                 //
    DFAByElement,                        //
    SignDFA,                             //
    NormalizedDFA,                       //
    DRTP,                                //
    RandomDirectKolenPollack,            //
    RandomForwardDFA,                    //
    GrAPE,                               //
    FA,                                  //
    LayerFA,                             //
    Signs<Magnitude::Uniform>,           //
    Signs<Magnitude::Fixed>,             //
    Signs<Magnitude::Redrawn>,           //
    KolenPollack,                        //
    WeightMirror,                        //
    RankOne<false>,                      //
    RankOne<true>,                       //
    ForwardGradient,                     //
    Oracle,                              //
    OracleAtBlockInput,                  //
    SmallVec,                            //
    SmallVecAtBlockInput,                //
    SmallValueNet<false>,                //
    SmallValueNet<true>,                 //
    SmallStatePredictor,                 //
    ShortEquilibriumPropagation<false>,  //
    ShortEquilibriumPropagation<true>,   //
    LocalErrorSignals,                   //
    PredLocalErrorSignals,               //
    MonoForward,                         //
    DecoupledGreedy,                     //
    Competition,                         //
    TargetProjection,                    //
    NoisyProjection,                     //
    LearnedProjection,                   //
    ProjectionAtScaledStates,            //
    Mix<DFA, FA>,                        //
    Mix<DFA, SmallVec>,                  //
    Mix<LearnedProjection, Oracle>>;

/// Whether a rule has random numbers of its own.
template <class Rule>
inline constexpr bool draws = true;
template <>
inline constexpr bool draws<Oracle> = false;
template <>
inline constexpr bool draws<OracleAtBlockInput> = false;
template <>
inline constexpr bool draws<Signs<Magnitude::Uniform>> = false;
template <bool reads_weights>
inline constexpr bool draws<RankOne<reads_weights>> = false;
template <bool centered>
inline constexpr bool draws<ShortEquilibriumPropagation<centered>> = false;

template <>
inline constexpr bool draws<Competition> = false;

/// Whether a rule learns.
template <class Rule>
inline constexpr bool learns = false;
template <>
inline constexpr bool learns<RandomDirectKolenPollack> = true;
template <>
inline constexpr bool learns<RandomForwardDFA> = true;
template <>
inline constexpr bool learns<GrAPE> = true;
template <>
inline constexpr bool learns<SmallVec> = true;
template <>
inline constexpr bool learns<SmallVecAtBlockInput> = true;
template <bool matched>
inline constexpr bool learns<SmallValueNet<matched>> = true;
template <>
inline constexpr bool learns<SmallStatePredictor> = true;
template <>
inline constexpr bool learns<LocalErrorSignals> = true;
template <>
inline constexpr bool learns<PredLocalErrorSignals> = true;
template <>
inline constexpr bool learns<MonoForward> = true;
template <>
inline constexpr bool learns<DecoupledGreedy> = true;
template <>
inline constexpr bool learns<LearnedProjection> = true;
template <>
inline constexpr bool learns<Mix<DFA, SmallVec>> = true;
template <>
inline constexpr bool learns<Mix<LearnedProjection, Oracle>> = true;

/// Whether a rule may pull the true gradient back.
template <class Rule>
inline constexpr bool pulls_back = false;
template <>
inline constexpr bool pulls_back<Oracle> = true;
template <>
inline constexpr bool pulls_back<OracleAtBlockInput> = true;
template <>
inline constexpr bool pulls_back<Mix<LearnedProjection, Oracle>> = true;

/// Whether a sample's credit is the same in another batch; not if numbers are drawn for each sample.
template <class Rule>
inline constexpr bool per_sample = true;
template <>
inline constexpr bool per_sample<ForwardGradient> = false;

/// Whether a sample's credit depends on the rest of its batch.
template <class Rule>
inline constexpr bool couples_samples = false;
template <>
inline constexpr bool couples_samples<LocalErrorSignals> = true;
template <>
inline constexpr bool couples_samples<PredLocalErrorSignals> = true;  // the state is one type for every beta
template <>
inline constexpr bool couples_samples<DecoupledGreedy> = true;

/// Whether a rule's factors are of error and target alone.
template <class Rule>
inline constexpr bool reads_error_only = false;
template <>
inline constexpr bool reads_error_only<DFA> = true;
template <>
inline constexpr bool reads_error_only<DFAByElement> = true;
template <>
inline constexpr bool reads_error_only<SignDFA> = true;
template <>
inline constexpr bool reads_error_only<NormalizedDFA> = true;
template <>
inline constexpr bool reads_error_only<DRTP> = true;

/// Whether a rule's blocks can be trained in different processes.
template <class Rule>
inline constexpr bool block_parallel = reads_error_only<Rule>;
template <>
inline constexpr bool block_parallel<Competition> = true;
template <>
inline constexpr bool block_parallel<RandomDirectKolenPollack> = true;
template <>
inline constexpr bool block_parallel<LocalErrorSignals> = true;
template <>
inline constexpr bool block_parallel<PredLocalErrorSignals> = true;
template <>
inline constexpr bool block_parallel<MonoForward> = true;
template <>
inline constexpr bool block_parallel<DecoupledGreedy> = true;

/// Whether a rule says what it reads.
template <class Rule>
inline constexpr bool says_what_it_reads = creditlib::detail::SaysWhatItReads<CreditState<Rule, ResidualMLP>>;
template <class First, class Second>
inline constexpr bool says_what_it_reads<Mix<First, Second>> = says_what_it_reads<First> && says_what_it_reads<Second>;

/// What a rule says of a model that it cannot train; "" where it trains it.
template <class Rule>
std::string refusal(Kind kind) {
  if constexpr (requires { Rule::refusal(kind); }) {
    return Rule::refusal(kind);
  } else {
    return "";
  }
}

/// What the laws ought to see of a rule on a model.
template <class Rule>
detail::laws::About about(Kind kind) {
  return {.draws = draws<Rule>,
          .learns = learns<Rule>,
          .true_gradient = pulls_back<Rule>,
          .per_sample = per_sample<Rule>,
          .couples_samples = couples_samples<Rule>,
          .says_what_it_reads = says_what_it_reads<Rule>,
          .reads_error_only = reads_error_only<Rule>,
          .block_parallel = block_parallel<Rule>,
          .refusal = refusal<Rule>(kind),
          .embed = kind != Kind::no_embed,
          .by_formula = has_closed_form(kind),
          .mixes_samples = mixes_samples(kind),
          .draws_masks = kind == Kind::dropout};
}

}  // namespace creditlib::test
