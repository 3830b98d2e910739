// SPDX-License-Identifier: Apache-2.0
#include <creditlib/closed_form/model.hpp>
#include <creditlib/concepts.hpp>
#include <creditlib/loss/inner_product.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/model/small_resnet.hpp>
#include <creditlib/model/vit_mini.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/schedule/always.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/schedule/warmup.hpp>
#include <creditlib/trainer/source_traits.hpp>
#include <memory>
#include <tuple>

#include "laws/every_rule.hpp"
#include "wrong_types.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

// ---- What the library has fits ----

/// Whether each rule of a list is a source for the model; of a Mix, both of its sources are.
template <class Rule, class Model>
constexpr bool is_source = CreditSource<Rule, Model>;
template <class First, class Second, class Model>
constexpr bool is_source<Mix<First, Second>, Model> = is_source<First, Model> && is_source<Second, Model>;

template <class Model, class... EveryRule>
consteval bool sources(const std::tuple<EveryRule...>*) {
  return (is_source<EveryRule, Model> && ...);
}
static_assert(sources<ResidualMLP>(static_cast<const Rules*>(nullptr)));
static_assert(sources<SequentialBlocks>(static_cast<const Rules*>(nullptr)));

template <class... Model>
constexpr bool models = (BlockModel<Model> && ...);
static_assert(models<ResidualMLP, SmallCNN, SmallResNet, ViTMini, SequentialBlocks>);
static_assert(models<std::shared_ptr<ResidualMLPImpl>, std::shared_ptr<wrong::Whole>>);
static_assert(ClosedFormModel<ResidualMLP> && ClosedFormModel<SequentialBlocks> && !ClosedFormModel<SmallCNN>);

static_assert(Normalizer<RowRms> && Normalizer<Raw>);
static_assert(LocalLoss<InnerProduct> && LocalLoss<PenalizedInnerProduct>);
static_assert(Objective<CrossEntropy> && Objective<SquaredError>);
static_assert(Schedule<Always> && Schedule<SwitchAt> && Schedule<Blend> && Schedule<Warmup>);

// ---- What misses one requirement does not ----

template <class M>
using Held = std::shared_ptr<M>;

static_assert(BlockModel<Held<wrong::Whole>>);

static_assert(!creditlib::detail::HoldsModule<wrong::NotAModule> && !creditlib::detail::HoldsModule<wrong::Whole>);
static_assert(!creditlib::detail::HoldsModule<Held<wrong::NotAModule>>);
static_assert(!creditlib::detail::HasEmbed<Held<wrong::NoEmbed>> &&
              !creditlib::detail::HasEmbed<Held<wrong::EmbedGivesNothing>>);
static_assert(!creditlib::detail::HasBlocks<Held<wrong::NoBlocks>> &&
              !creditlib::detail::HasBlocks<Held<wrong::BlocksInWords>>);
static_assert(!creditlib::detail::HasBlock<Held<wrong::NoBlock>> &&
              !creditlib::detail::HasBlock<Held<wrong::BlockWithoutIndex>>);
static_assert(!creditlib::detail::HasJoin<Held<wrong::NoJoin>> && !creditlib::detail::HasJoin<Held<wrong::JoinOfOne>>);
static_assert(!creditlib::detail::HasReadout<Held<wrong::NoReadout>> &&
              !creditlib::detail::HasReadout<Held<wrong::ReadoutGivesMany>>);
static_assert(!creditlib::detail::HasForward<Held<wrong::NoForward>> &&
              !creditlib::detail::HasForward<Held<wrong::ForwardOfTwo>>);
static_assert(!creditlib::detail::HasClasses<Held<wrong::NoClasses>> &&
              !creditlib::detail::HasClasses<Held<wrong::ClassesInWords>>);
static_assert(!creditlib::detail::HasHiddenShape<Held<wrong::NoHiddenShape>>);
static_assert(!creditlib::detail::HasHiddenShape<Held<wrong::ShapeIsANumber>>);
static_assert(!creditlib::detail::HasEmbedParameters<Held<wrong::NoEmbedParameters>>);
static_assert(!creditlib::detail::HasEmbedParameters<Held<wrong::OneEmbedParameter>>);
static_assert(!creditlib::detail::HasBlockParameters<Held<wrong::NoBlockParameters>>);
static_assert(!creditlib::detail::HasBlockParameters<Held<wrong::BlockParametersOfAll>>);
static_assert(!creditlib::detail::HasReadoutParameters<Held<wrong::NoReadoutParameters>>);
static_assert(!creditlib::detail::HasReadoutParameters<Held<wrong::OneReadoutParameter>>);

/// One requirement that does not hold is enough.
template <class... M>
constexpr bool no_model = (!BlockModel<Held<M>> && ...);
static_assert(no_model<wrong::NotAModule, wrong::NoEmbed, wrong::NoBlocks, wrong::NoBlock, wrong::NoJoin,
                       wrong::NoReadout, wrong::NoForward, wrong::NoClasses, wrong::NoHiddenShape,
                       wrong::NoEmbedParameters, wrong::NoBlockParameters, wrong::NoReadoutParameters>);
static_assert(BlockModel<Held<wrong::ClosedFormInWords>> && !ClosedFormModel<Held<wrong::ClosedFormInWords>>);

using M = ResidualMLP;
static_assert(CreditSource<wrong::Source, M>);
static_assert(!CreditSource<wrong::Source, Held<wrong::NoBlock>>);
static_assert(!CreditSource<wrong::NoCredit, M> && !CreditSource<wrong::CreditOfOne, M>);
static_assert(!CreditSource<wrong::CreditWithoutTrace, M> && !CreditSource<wrong::BindsNoState, M>);
static_assert(!CreditSource<wrong::NotCopyable, M>);
static_assert(!CreditSource<wrong::BindNotConst, M> && !CreditSource<wrong::BindWithoutContext, M>);

static_assert(!creditlib::detail::Binds<wrong::BindNotConst, M> &&
              !creditlib::detail::Binds<wrong::BindWithoutContext, M>);
static_assert(!creditlib::detail::GivesCredit<wrong::NoCredit, M> &&
              !creditlib::detail::GivesCredit<wrong::CreditOfOne, M>);
static_assert(creditlib::detail::GivesCreditConst<wrong::Source, M> &&
              !creditlib::detail::GivesCreditConst<NoisyProjection::State, M>);
static_assert(!creditlib::detail::Learns<wrong::LearnsWithoutTrace, M> && !creditlib::detail::Learns<wrong::Source, M>);
static_assert(!creditlib::detail::SeesUpdates<wrong::AfterStepWithoutTrace, M> &&
              !creditlib::detail::SeesUpdates<wrong::Source, M>);
static_assert(!creditlib::detail::HasLocalInputs<wrong::LocalInputsOfOne, M> &&
              !creditlib::detail::HasLocalInputs<wrong::Source, M>);
static_assert(!creditlib::detail::GivesFactors<wrong::FactorsOfOne, M> &&
              !creditlib::detail::GivesFactors<wrong::Source, M>);
static_assert(!creditlib::detail::HasNamedTensors<wrong::NamedTensorsNotConst> &&
              !creditlib::detail::HasNamedTensors<wrong::Source>);
static_assert(!creditlib::detail::DeclaresErrorOnly<wrong::ErrorOnlyInAMember> &&
              !creditlib::detail::ReadsErrorOnly<wrong::Source>);
static_assert(!creditlib::detail::DeclaresPullback<wrong::PullbackInAMember> &&
              !creditlib::detail::DeclaresPullback<wrong::Source>);
static_assert(!creditlib::detail::DeclaresPushforward<wrong::PushforwardInAMember> &&
              !creditlib::detail::DeclaresPushforward<wrong::Source>);
static_assert(!creditlib::detail::wanted_rights<wrong::Source, wrong::PullbackInAMember>().pullback);
static_assert(!creditlib::detail::wanted_rights<wrong::Source, wrong::PushforwardInAMember>().pushforward);

static_assert(!Normalizer<wrong::NormalizerNotConst> && !Normalizer<wrong::NormalizerGivesNothing>);
static_assert(Normalizer<wrong::FactoredGivesDense> &&
              !creditlib::detail::NormalizesFactors<wrong::FactoredGivesDense>);

static_assert(!LocalLoss<wrong::LossOfOne> && !LocalLoss<wrong::LossInWords> && LocalLoss<wrong::Loss>);
static_assert(!creditlib::detail::HasOutputGradient<wrong::OutputGradientOfOne> &&
              !creditlib::detail::HasOutputGradient<wrong::Loss>);
static_assert(!creditlib::detail::HasEmbedLoss<wrong::EmbedLossWithoutGradient> &&
              !creditlib::detail::HasEmbedLoss<wrong::Loss>);
static_assert(!creditlib::detail::HasMultipleOfCredit<wrong::MultipleNotOptional> &&
              !creditlib::detail::HasMultipleOfCredit<wrong::Loss>);

static_assert(Objective<wrong::Aim>);
static_assert(!Objective<wrong::AimWithoutLoss> && !creditlib::detail::GivesLoss<wrong::AimWithoutLoss>);
static_assert(!Objective<wrong::AimWithoutError> && !creditlib::detail::GivesError<wrong::AimWithoutError>);
static_assert(!Objective<wrong::AimWithoutCheck> && !creditlib::detail::ChecksTarget<wrong::AimWithoutCheck>);
static_assert(!creditlib::detail::CountsCorrect<wrong::CorrectOfOne> && !creditlib::detail::CountsCorrect<wrong::Aim>);

static_assert(Schedule<wrong::OneWeight> && creditlib::detail::weight_count<wrong::OneWeight>() == 1);
static_assert(!Schedule<wrong::WeightIsANumber> && !Schedule<wrong::WeightsWithoutProgress>);
static_assert(!creditlib::detail::SaysWhatLearns<wrong::LearnsIsABool> &&
              !creditlib::detail::SaysWhatLearns<wrong::LearnsOfTwo>);

}  // namespace

TEST_CASE("the parts of the library satisfy their concepts, and types that miss one requirement do not", "[concepts]") {
  SUCCEED("this file compiles");
}
