// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/clip/by_block.hpp>
#include <creditlib/clip/by_value.hpp>
#include <creditlib/concepts.hpp>
#include <creditlib/trainer/policies.hpp>
#include <creditlib/trainer/source_traits.hpp>
#include <type_traits>

/// `static_assert` messages for what cannot be trained with blocks in different processes.
namespace creditlib::detail {

/// Whether the rule's credit can be made block by block; `Traits` are its SourceTraits.
template <class Traits>
consteval bool trains_in_blocks() {
  static_assert(holds(Traits::count == 1), "creditlib: BlockTrainer takes one credit source, not a Mix");
  if constexpr (Traits::count == 1) {
    constexpr bool declared = BlockParallel<typename Traits::State>;
    static_assert(
        declared,
        "creditlib: BlockTrainer cannot train this rule, whose credit for a block needs more than the output error, "
        "the "
        "target and the block's own states, as FA's, which comes from the block above, so its blocks cannot be trained "
        "in different processes; those of DFA, DRTP, ChannelGoodness, DirectKolenPollack, LocalHeads, MonoForward, "
        "LocalErrorSignals and DecoupledGreedy can, and those of a rule whose state declares `static constexpr bool "
        "block_parallel = "
        "true`");
    static_assert(Traits::block_parallel || !declared,
                  "creditlib: this rule declares block_parallel, but its credit is not const, or it has local_inputs, "
                  "transport, wants_pullback or wants_pushforward, which BlockTrainer does not offer");
  }
  return Traits::block_parallel;
}

/// Whether the policies need no more than the gradients of one process' blocks.
template <class... Policies>
consteval bool policies_fit_blocks() {
  constexpr bool scheduled = count_of<PolicyKind::Schedule, Policies...> > 0;
  static_assert(!scheduled, "creditlib: BlockTrainer has one credit source and takes no schedule");
  constexpr bool torch_optimizer = TorchOptimizer<typename PolicyOf<PolicyKind::Optimizer, int, Policies...>::type>;
  static_assert(!torch_optimizer,
                "creditlib: the state of one of LibTorch's optimizers cannot be put together from several processes; "
                "give BlockTrainer optimizer::AdamW, optimizer::SGD or one of your own");
  using Clip = typename PolicyOf<PolicyKind::Clip, clip::ByBlock, Policies...>::type;
  constexpr bool clips_blocks = std::is_same_v<Clip, clip::ByBlock> || std::is_same_v<Clip, clip::ByValue>;
  static_assert(
      clips_blocks,
      "creditlib: a clip sees the gradients of one process' blocks alone, so BlockTrainer takes clip::ByBlock "
      "and clip::ByValue");
  return !scheduled && !torch_optimizer && clips_blocks;
}

}  // namespace creditlib::detail
