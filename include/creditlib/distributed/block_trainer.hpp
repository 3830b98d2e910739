// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/Type.h>

#include <algorithm>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/assignable.hpp>
#include <creditlib/detail/autocast.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/detail/target_range.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <creditlib/loss/inner_product.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/normalizer/natural_normalizer.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/objective/detail/loss_and_error.hpp>
#include <creditlib/reads.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <creditlib/scope/untouched.hpp>
#include <creditlib/trainer/block_part.hpp>
#include <creditlib/trainer/block_requirements.hpp>
#include <creditlib/trainer/expected_logits.hpp>
#include <creditlib/trainer/local_losses.hpp>
#include <creditlib/trainer/policies.hpp>
#include <creditlib/trainer/requirements.hpp>
#include <creditlib/trainer/sources.hpp>
#include <creditlib/trainer/training.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace creditlib::distributed {

/// What BlockTrainer is told besides TrainerOptions.
struct BlockOptions {
  /// In how many parts, of about as many rows each, a batch goes up through the ranks, so that a rank can work on one
  /// while the rank above works on the one before. The step is the same for any number.
  std::int64_t micro_batches = 1;
  /// How many blocks each rank has, from rank 0 on. Empty: split evenly by the number of parameters, the embed's on rank 0
  /// and the readout's on the last rank included.
  std::vector<std::int64_t> blocks = {};

  /// Throws Error for an invalid value.
  void check() const { detail::expect::at_least("BlockOptions", "micro_batches", micro_batches, 1); }
};

/// Trains a network whose blocks lie in different processes: each has its own blocks' parameters and optimizer, the first
/// rank also the embed's, the last also the readout's. For rules whose credit for a block is computed, and learned, from
/// the output error, the target and the block's own states: their state declares `block_parallel` (DFA, DRTP,
/// ChannelGoodness, DirectKolenPollack, LocalHeads, MonoForward, LocalErrorSignals, DecoupledGreedy). What such a rule has
/// for a hidden state is on the rank of the block that gives it.
///
/// One step, called by all processes with the same batch:
/// - the hidden state goes up from rank to rank, in BlockOptions::micro_batches parts;
/// - the last rank makes the logits and sends them to all, of which each computes the error; a rule that does not read the
///   error waits for nothing;
/// - every rank makes the gradients of its own blocks, lets the rule learn from their states of the whole batch, and takes
///   its optimizer's step.
///
/// The step is LocalTrainer's on the same batch, to rounding, except for Dropout, whose masks each process draws itself.
/// In all, the ranks send (N - 1) B (d + C) numbers, for N processes, B rows, hidden states (B, d) and C classes.
///
/// - The processes are TrainerOptions::group; none, or one: all blocks are here.
/// - Weights and buffers are rank 0's when the trainer is made. Then the parameters of other ranks' blocks are emptied in
///   this rank's model, (0), and what the rule has for them (tensors_of) too, and their memory is free: the model runs its
///   own blocks alone. `logits` and `evaluate` run the whole network; `save` writes all of it.
/// - Policies come after the options in any order: a normalizer, a local loss, an objective, an optimizer, a rate,
///   clip::ByBlock or clip::ByValue.
/// - Throws Error on all ranks, before the first step, if they do not agree on options, model, rule or first batch, or if
///   there are more of them than blocks; for a rule that says that it reads more (Reads), such as weights; for a
///   parameter, or a tensor of the rule, that parts on two ranks share; for BatchNorm in train mode with
///   micro_batches > 1; in a step where LocalTrainer does, and if another process is gone.
template <class Model, class Credit, class Normalizer = NaturalNormalizer<Credit>, class LocalLoss = InnerProduct,
          class Objective = CrossEntropy>
class BlockTrainer {
  static consteval bool sound() {
    if constexpr (detail::model_is_sound<Model>()) {
      using Traits = detail::SourceTraits<Credit, Model>;
      if constexpr (detail::all_of({Traits::sound(), detail::normalizer_is_sound<Normalizer>(),
                                    detail::local_loss_is_sound<LocalLoss>(),
                                    detail::objective_is_sound<Objective>()})) {
        return detail::trains_in_blocks<Traits>();
      } else {
        return false;
      }
    } else {
      return false;
    }
  }
  using Requirements = std::bool_constant<sound()>;  // fails to compile with the reasons

  using Sources = detail::Sources<Credit, Model>;
  using Kind = detail::PolicyKind;

 public:
  template <class... Policies>
  explicit BlockTrainer(Model model, const Credit& credit = {}, const TrainerOptions& options = {},
                        const BlockOptions& blocks = {}, Policies&&... policies)
      : BlockTrainer(detail::update_policies(std::forward<Policies>(policies)...), std::move(model), credit, options,
                     blocks, detail::picked<Kind::Normalizer, Normalizer>(std::forward<Policies>(policies)...),
                     detail::picked<Kind::LocalLoss, LocalLoss>(std::forward<Policies>(policies)...),
                     detail::picked<Kind::Objective, Objective>(std::forward<Policies>(policies)...)) {
    static_assert(detail::policies_are_sound<Policies...>() && detail::policies_fit_blocks<Policies...>(),
                  "creditlib: BlockTrainer cannot take these policies; the sentence above says why");
  }

  BlockTrainer(BlockTrainer&&) = default;
  BlockTrainer& operator=(BlockTrainer&&) = default;
  BlockTrainer(const BlockTrainer&) = delete;
  BlockTrainer& operator=(const BlockTrainer&) = delete;

  /// One training step on the batch x (B, ...), y (B), the same on all ranks. x is read by rank 0 alone, and may be
  /// undefined on the others. With a rule that does not read the error (DRTP, ChannelGoodness) the result is the last
  /// rank's; on the others its tensors are undefined.
  StepResult step(const torch::Tensor& x, const torch::Tensor& y) {
    return detail::translated([&] {
      training_.begin_step();
      part_.refuse_batch_statistics();
      const auto like = checked_target(x, y);
      return together([&] {
        require_same_batches(y);
        if (part_.first()) training_.check_batch(*objective_, x, y);
        const detail::Autocast off(training_.device(), false);
        part_.pass().set_runner({training_.device(), training_.dtype(), off.was_on()});
        const scope::RestoredTensors running_statistics(training_.buffers(), scope::Restore::OnError);
        const torch::NoGradGuard no_grad;
        part_.forward(x, y.size(0), like);
        const auto states = part_.pass().states();
        auto [trace, result] = finished(states, x, y, like);
        const auto readout = with_readout(trace);
        auto from = local_.gradients(credit_of(trace), states.hidden, states.branch, /*only_factors=*/false);
        if (part_.last()) from.readout = trace.error / static_cast<double>(y.size(0));
        sources_.learn(training_.model(), trace, only_source);
        auto gradients = part_.pass().gradients(from, training_.parameters());
        readout->end();
        part_.finish_sending();
        training_.apply(std::move(gradients));
        sources_.after_step(training_.model(), trace);
        return result;
      });
    });
  }

  /// Ends an epoch: advances the learning rate, and makes sure that all ranks are at the same step of the same run. Throws
  /// Error on all of them if they are not.
  void end_epoch() {
    detail::translated([&] {
      training_.end_epoch();
      agree();
    });
  }
  /// Tells a rate such as rate::ReduceOnPlateau how training goes, on all ranks. Throws Error if the rate takes no reports.
  void report(double value) {
    detail::translated([&] { training_.report(value); });
  }

  /// The logits of the whole network in eval mode, on all ranks. x is read by rank 0 alone. No gradient.
  torch::Tensor logits(const torch::Tensor& x) {
    return detail::translated([&] {
      return together([&] {
        if (part_.first() && (!x.defined() || x.dim() == 0 || x.size(0) == 0)) {
          detail::fail("The batch x is ", detail::tensor_text(x), ", expected at least one sample in dimension 0.");
        }
        const torch::NoGradGuard no_grad;
        const detail::Autocast off(training_.device(), false);
        const scope::EvalMode eval(*training_.model());
        return part_.logits(x, like_model());
      });
    });
  }
  /// The mean loss of a batch and the number of samples that are right, in eval mode, on all ranks. x is read by rank 0
  /// alone.
  StepResult evaluate(const torch::Tensor& x, const torch::Tensor& y) {
    const auto logits = this->logits(x);
    return detail::translated([&] {
      const torch::NoGradGuard no_grad;
      detail::check_target(*objective_, logits, y);
      return summary(objective_->loss(logits, y).mean(), logits, y);
    });
  }

  /// Called by all ranks, of which rank 0 writes the file: all state of all of them, as LocalTrainer writes it for the same
  /// model and policies, which can load it, and io::load_weights with the prefix "model." the weights alone. Rank 0 has all
  /// of it in memory meanwhile. Returns when the file is there; throws Error on all ranks if it cannot be written.
  void save(const std::filesystem::path& path) const {
    detail::translated([&] {
      auto [named, added, counters] = training_.checkpoint(sources_.named_tensors(), sources_.generators());
      named.insert(named.end(), added.begin(), added.end());
      const auto all = part_.gathered(std::move(named));
      part_.on_first([&] { detail::save_tensors(path, all); });
    });
  }
  /// Called by all ranks: reads what save, in any number of processes, or LocalTrainer has written for the same model and
  /// kinds of parts. Each rank needs the file.
  void load(const std::filesystem::path& path) {
    detail::translated([&] {
      const auto extra = sources_.named_tensors();
      std::set<std::string> elsewhere;
      for (const auto& [name, tensor] : training_.checkpoint(extra, {}).named) {
        if (part_.is_elsewhere(name)) elsewhere.insert(name);
      }
      training_.load(path, extra, sources_.generators(), elsewhere);
      agree();
    });
  }

  /// This rank's model, in which other ranks' parameters are empty.
  Model& model() { return training_.model(); }
  const Model& model() const { return training_.model(); }
  const TrainerOptions& options() const { return options_; }
  const BlockOptions& block_options() const { return block_options_; }
  /// This rank's blocks: the first, and the one after the last.
  std::pair<std::int64_t, std::int64_t> blocks() const { return {part_.slice().begin, part_.slice().end}; }
  std::int64_t epoch() const { return training_.progress().epoch; }
  std::int64_t steps() const { return training_.progress().step; }
  double rate() const { return training_.rate(); }
  Path path() const { return part_.pass().path(); }
  /// The credit source's run state.
  auto& state() { return sources_.state(); }
  const auto& state() const { return sources_.state(); }

 private:
  static constexpr detail::Mixing<1> only_source{.weights = {1}, .learns = {true}};
  static constexpr bool keeps_factors =
      Sources::Traits::reads_error_only && detail::LocalLosses<Normalizer, LocalLoss>::accept_factors;

  BlockTrainer(detail::UpdatePolicies update, Model model, const Credit& credit, const TrainerOptions& options,
               const BlockOptions& blocks, Normalizer normalizer, LocalLoss loss, Objective objective) try
      : options_(checked(options, blocks)),
        block_options_(blocks),
        part_(with_blocks(model), options_, c10::demangle(typeid(BlockTrainer).name()), blocks.micro_batches,
              blocks.blocks),
        sources_(credit, model, part_.device(), part_.dtype(), options,
                 detail::takes_labels(objective, logits_shape(model), part_.dtype()), alone()),
        local_(std::move(normalizer), std::move(loss)),
        objective_(std::move(objective)),
        training_(with_own_blocks(std::move(model)), of_one_process(options_), std::move(update)) {
    agree();
  } catch (...) {
    detail::rethrow_translated();
  }

  static TrainerOptions checked(const TrainerOptions& options, const BlockOptions& blocks) {
    options.check();
    blocks.check();
    if (options.clip_norm && options.clip_scope == ClipScope::All) {
      detail::fail(
          "TrainerOptions: clip_scope is All, but no process of BlockTrainer has all gradients; use ClipScope::Block.");
    }
    return options;
  }
  static TrainerOptions of_one_process(TrainerOptions options) {
    options.group = nullptr;  // of the rows: every process has all of them
    return options;
  }
  static Model with_blocks(Model model) {
    if (model && model->blocks() < 1) {
      detail::fail("BlockTrainer: the model has no blocks, so there is nothing to train locally; use BackpropTrainer.");
    }
    return model;
  }

  /// The model without other ranks' parameters, and the rule without what belongs to them, once nothing else stands
  /// against it; then the optimizer can be made.
  Model with_own_blocks(Model model) {
    detail::check_positions(model, local_.loss());
    check_reads();
    std::vector<std::vector<torch::Tensor>> of_states;
    for (std::int64_t l = 0; l <= model->blocks(); ++l) of_states.push_back(sources_.tensors_of(l));
    part_.release_others(sources_.named_tensors(), of_states);
    return model;
  }

  /// What the rule reads, all of the error if it does not say it.
  Reads reads() const {
    if constexpr (detail::SaysWhatItReads<typename Sources::State>) {
      return sources_.state().reads();
    } else {
      return Reads::Error;
    }
  }
  void check_reads() const {
    if (any_of(reads(), Reads::Signs | Reads::Weights | Reads::Forward)) {
      detail::fail(
          "BlockTrainer: the credit source declares block_parallel, but says that it reads ", text_of(reads()),
          "; only error, target, the block's own hidden state and, in the last process, the readout are there.");
    }
  }

  void agree() const {
    if (part_.group().size() == 1) return;
    auto [named, added, counters] = training_.checkpoint(sources_.named_tensors(), sources_.generators());
    named.insert(named.end(), added.begin(), added.end());
    part_.agree({}, named);
  }

  torch::Tensor like_model() const {
    return torch::empty({0}, torch::TensorOptions(training_.dtype()).device(training_.device()));
  }

  /// Runs what all ranks do at the same time. Where it fails on this rank alone, the others are at another place, and
  /// would take its next message for this one.
  template <class Action>
  auto together(const Action& action) {
    if (came_apart_) {
      detail::fail(
          "BlockTrainer: an earlier call failed on this rank, so that the ranks may be at different places; let the "
          "Error end the process, and start again from a checkpoint.");
    }
    try {
      return action();
    } catch (...) {
      came_apart_ = part_.group().size() > 1;
      throw;
    }
  }

  /// Throws Error on all ranks, before the first step, if they have batches of their own.
  void require_same_batches(const torch::Tensor& y) {
    if (std::exchange(compared_batches_, true)) return;
    part_.agree({{"the first batch, which is the same on all ranks (Batches without .group), by its target",
                  detail::fact_of(y)}},
                {});
  }

  /// Throws Error for a target that does not fit, on all ranks: x is not looked at where there are several. Returns logits
  /// of the right shape, as far as y tells, and no meaning.
  torch::Tensor checked_target(const torch::Tensor& x, const torch::Tensor& y) const {
    const bool stands_in = part_.group().size() > 1 && y.defined() && y.dim() > 0 && y.size(0) > 0;
    const auto batch = stands_in ? torch::empty({y.size(0)}, like_model().options()) : x;
    const auto like = training_.check_batch(*objective_, batch, y);
    detail::refuse_out_of_range(*objective_, like, y);
    return like;
  }

  /// The trace of this rank: its own states, what the error is, and the step's result.
  std::pair<Trace, StepResult> finished(const detail::SliceStates& states, const torch::Tensor& x,
                                        const torch::Tensor& y, const torch::Tensor& like) {
    Model& model = training_.model();
    const auto& slice = part_.slice();
    Trace trace;
    if (part_.first()) trace.input = x;
    trace.target = y;
    trace.hidden.resize(static_cast<std::size_t>(model->blocks()) + 1);
    trace.branch.resize(static_cast<std::size_t>(model->blocks()));
    // h_begin is the input of this rank's first block, and the rank's to train whose block gives it.
    const auto below = part_.first() ? 0 : 1;
    std::copy(states.hidden.begin() + below, states.hidden.end(), trace.hidden.begin() + slice.begin + below);
    std::copy(states.branch.begin(), states.branch.end(), trace.branch.begin() + slice.begin);
    detail::TraceAccess::set_objective(trace, *objective_);
    const bool shared = any_of(reads(), Reads::Error);
    if (!shared && !part_.last()) {
      trace.logits = trace.error =
          torch::full({}, std::numeric_limits<double>::quiet_NaN(), like.options()).expand_as(like);
      return {std::move(trace), StepResult{}};
    }
    trace.logits = shared ? part_.shared_logits(states.logits, y.size(0), like) : states.logits;
    detail::check_target_positions(model, *objective_, trace.logits, y);
    torch::Tensor loss;
    std::tie(loss, trace.error) = detail::loss_and_error(*objective_, trace.logits, y);
    auto result = summary(loss, trace.logits, y);
    return {std::move(trace), std::move(result)};
  }

  /// Lets a trace of the last rank ask for the gradient through the readout.
  std::shared_ptr<detail::ReadoutPass> with_readout(Trace& trace) {
    auto pass = std::make_shared<detail::ReadoutPass>(part_.pass(), training_.model()->blocks());
    if (part_.last()) detail::TraceAccess::attach(trace, pass);
    return pass;
  }

  StepResult summary(const torch::Tensor& loss, const torch::Tensor& logits, const torch::Tensor& y) const {
    if constexpr (detail::CountsCorrect<Objective>) {
      return {loss, objective_->correct(logits, y)};
    } else {
      return {loss, torch::zeros({}, logits.options().dtype(torch::kInt64))};
    }
  }

  /// The credits that this rank trains with: a_0 on the first, if there is an embed, and those of its blocks' outputs.
  detail::StepCredit credit_of(const Trace& trace) {
    Model& model = training_.model();
    const auto& slice = part_.slice();
    // Those of h_begin..h_end; that of h_begin is the rank's below.
    const auto own = [&]<class A>(std::vector<A> all) {
      std::vector<A> credits(all.begin() + slice.begin, all.begin() + slice.end + 1);
      if (!part_.first() || !has_embed(model)) {
        credits[0] = A{};
      } else if (!credits[0].defined()) {
        detail::fail("The credit source gave no credit for h_0, but the model's embed has parameters to train.");
      }
      return credits;
    };
    if constexpr (keeps_factors) {
      auto shapes = hidden_shapes(model);
      if (path() == Path::ClosedForm && local_.scale_credit(shapes, trace.error.size(0))) {
        if (auto factors = sources_.factored_credit(model, trace, only_source))
          return {.factors = own(std::move(*factors))};
      }
    }
    return {.dense = local_.normalized(own(sources_.credit(model, trace, only_source)))};
  }

  TrainerOptions options_;
  BlockOptions block_options_;
  detail::BlockPart<Model> part_;
  Sources sources_;
  detail::LocalLosses<Normalizer, LocalLoss> local_;
  detail::Assignable<Objective> objective_;
  detail::Training<Model> training_;
  bool came_apart_ = false, compared_batches_ = false;
};

/// The template arguments from policies in any order.
template <class Model, class Credit, class... Policies>
BlockTrainer(Model, const Credit&, TrainerOptions, BlockOptions, Policies&&...)
    -> BlockTrainer<
        Model, Credit,
        typename detail::PolicyOf<detail::PolicyKind::Normalizer, NaturalNormalizer<Credit>, Policies...>::type,
        typename detail::PolicyOf<detail::PolicyKind::LocalLoss, InnerProduct, Policies...>::type,
        typename detail::PolicyOf<detail::PolicyKind::Objective, CrossEntropy, Policies...>::type>;
template <class Model, class Credit>
BlockTrainer(Model, const Credit&, TrainerOptions) -> BlockTrainer<Model, Credit>;

}  // namespace creditlib::distributed
