// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/closed_form/detail/pass.hpp>
#include <creditlib/closed_form/detail/share.hpp>
#include <creditlib/closed_form/network.hpp>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/autocast.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/detail/gradients_of.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/pass/output_gradients.hpp>
#include <creditlib/scope/generators.hpp>
#include <creditlib/trace.hpp>
#include <creditlib/trainer/block_split.hpp>
#include <creditlib/trainer/closed_form_passes.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// What a process' forward pass has given for a batch: h_begin..h_end, f_begin..f_{end-1} and, of the last process, the
/// logits.
struct SliceStates {
  std::vector<torch::Tensor> hidden, branch;
  torch::Tensor logits;
};

/// One step's forward pass through one process' blocks, a micro-batch after the other, and the gradients of the whole
/// batch.
class SlicePass {
 public:
  virtual ~SlicePass() = default;

  /// `input` is x in the first process, and elsewhere a tensor for h_begin with nothing in it yet.
  virtual void begin(const torch::Tensor& input) = 0;
  /// Where these rows of h_begin are to be written before they are run.
  virtual torch::Tensor input(const Share& rows) const = 0;
  /// These rows of h_end or, in the last process, of the logits.
  virtual torch::Tensor run(const Share& rows) = 0;
  virtual SliceStates states() = 0;
  /// (dlogits/dh_L)^T error of the whole batch, like h_L, in the last process.
  virtual torch::Tensor loss_gradient(const torch::Tensor& error) = 0;
  /// The gradients of these parameters, undefined for one that none reaches. Consumes the pass.
  virtual std::vector<torch::Tensor> gradients(const OutputGradients& from,
                                               const std::vector<torch::Tensor>& parameters) = 0;

  virtual void set_runner(const PartRunner& run) = 0;
  virtual Path path() const = 0;
};

/// What a Trace of the last process can ask of its graph: the gradient through the readout.
class ReadoutPass final : public TracedPass {
 public:
  ReadoutPass(SlicePass& pass, std::int64_t blocks) : pass_(pass), blocks_(blocks) {}

  std::int64_t blocks() const override { return blocks_; }
  torch::Tensor pullback(std::int64_t, const torch::Tensor&) override { fail_alone(); }
  torch::Tensor push(std::int64_t, const torch::Tensor&) override { fail_alone(); }
  /// The step's backward pass has consumed the graph.
  void end() { release(); }

 private:
  [[noreturn]] static void fail_alone() { fail("BlockTrainer: no process has the Jacobians of all blocks."); }
  torch::Tensor readout_pullback(const torch::Tensor& error) override { return pass_.loss_gradient(error); }

  SlicePass& pass_;
  std::int64_t blocks_;
};

/// By autograd, for any model: one graph for each block and micro-batch.
template <BlockModel Model>
class GraphSlice final : public SlicePass {
 public:
  GraphSlice(Model model, const BlockSlice& slice) : model_(std::move(model)), slice_(slice) {}

  void begin(const torch::Tensor& input) override {
    input_ = input;
    pieces_.clear();
  }
  torch::Tensor input(const Share& rows) const override { return rows.rows(input_); }

  torch::Tensor run(const Share& rows) override {
    const scope::Drawing drawing;
    const torch::AutoGradMode grad(true);
    auto& piece = pieces_.emplace_back(Piece{.rows = rows, .embedded = {}, .hidden = {}, .branch = {}, .logits = {}});
    torch::Tensor h = rows.rows(input_);
    const auto batch = h.size(0);
    if (slice_.embeds) {
      h = piece.embedded = run_([&] { return embedded(model_, h); });
    } else {
      h = h.variable_data();  // the graph need not see that other rows are written
    }
    for (auto l = slice_.begin; l < slice_.end; ++l) {
      check_hidden(model_, l, h, batch);
      const auto entered = h.detach();
      piece.hidden.push_back(entered);
      piece.branch.push_back(run_([&] { return branch_of(model_, l, entered); }));
      h = joined(model_, l, entered, piece.branch.back());
    }
    check_hidden(model_, slice_.end, h, batch);
    piece.hidden.push_back(h.detach());
    if (!slice_.reads_out) return piece.hidden.back();
    piece.hidden.back().requires_grad_();
    piece.logits = run_([&] { return logits_of(model_, piece.hidden.back()); });
    check_logits(piece.logits, batch, logits_shape(model_));
    return piece.logits.detach();
  }

  SliceStates states() override {
    const auto whole = [&](const auto& of) {
      if (pieces_.size() == 1) return torch::Tensor(of(pieces_[0])).detach();
      std::vector<torch::Tensor> parts;
      for (const auto& piece : pieces_) parts.push_back(of(piece).detach());
      return at::cat(parts);
    };
    SliceStates states;
    for (std::size_t l = 0; l < pieces_[0].hidden.size(); ++l) {
      states.hidden.push_back(whole([l](const Piece& piece) { return piece.hidden[l]; }));
    }
    for (std::size_t l = 0; l < pieces_[0].branch.size(); ++l) {
      states.branch.push_back(whole([l](const Piece& piece) { return piece.branch[l]; }));
    }
    if (slice_.reads_out) states.logits = whole([](const Piece& piece) { return piece.logits; });
    return states;
  }

  torch::Tensor loss_gradient(const torch::Tensor& error) override {
    std::vector<torch::Tensor> parts;
    for (const auto& piece : pieces_) {
      parts.push_back(pulled_back(piece.logits, piece.hidden.back(), piece.rows.rows(error)));
    }
    return at::cat(parts);
  }

  std::vector<torch::Tensor> gradients(const OutputGradients& from,
                                       const std::vector<torch::Tensor>& parameters) override {
    std::vector<torch::Tensor> outputs, seeds;
    for (const auto& piece : pieces_) {
      const auto start_at = [&](const torch::Tensor& output, const torch::Tensor& seed) {
        if (!seed.defined()) return;
        outputs.push_back(output);
        seeds.push_back(piece.rows.rows(seed));
      };
      start_at(piece.embedded, from.embed.dense);
      for (std::size_t l = 0; l < piece.branch.size(); ++l) start_at(piece.branch[l], from.blocks[l].dense);
      start_at(piece.logits, from.readout);
    }
    auto found = gradients_of(outputs, seeds, parameters);
    pieces_.clear();
    input_.reset();
    return found;
  }

  void set_runner(const PartRunner& run) override { run_ = run; }
  Path path() const override { return Path::Generic; }

 private:
  /// A micro-batch: h_0 on the graph of the embed, h_begin.. detached, each f_l and the logits on graphs of their own, that
  /// of the logits from h_L, a leaf.
  struct Piece {
    Share rows;
    torch::Tensor embedded;
    std::vector<torch::Tensor> hidden, branch;
    torch::Tensor logits;
  };

  Model model_;
  BlockSlice slice_;
  PartRunner run_;
  torch::Tensor input_;
  std::vector<Piece> pieces_;
};

/// The layers of one process' blocks.
inline closed_form::Network part_of(const closed_form::Network& network, const BlockSlice& slice) {
  auto part = network;
  part.blocks.assign(network.blocks.begin() + slice.begin, network.blocks.begin() + slice.end);
  if (!slice.embeds) part.embed.clear();
  if (!slice.reads_out) part.readout.clear();
  return part;
}

/// By formula, on the CPU: micro-batches are rows of the same buffers.
template <BlockModel Model>
class FormulaSlice final : public SlicePass {
 public:
  /// `network` has the layers of the slice alone.
  FormulaSlice(Model model, const BlockSlice& slice, const closed_form::Network& network,
               const std::vector<torch::Tensor>& parameters, MatmulPrecision precision)
      : model_(std::move(model)),
        slice_(slice),
        inputs_(network, parameters, precision),
        pass_(network, parameters, precision) {}

  void begin(const torch::Tensor& input) override {
    trace_ = {};
    input_ = slice_.embeds ? inputs_.input(model_, input) : input;
    trace_ = pass_.prepare(input_);
  }
  torch::Tensor input(const Share& rows) const override { return rows.rows(input_); }
  torch::Tensor run(const Share& rows) override {
    pass_.run(rows);
    return rows.rows(slice_.reads_out ? trace_.logits : trace_.hidden.back());
  }
  SliceStates states() override {
    return {trace_.hidden, trace_.branch, slice_.reads_out ? trace_.logits : torch::Tensor()};
  }
  torch::Tensor loss_gradient(const torch::Tensor& error) override { return pass_.loss_gradient(error); }
  std::vector<torch::Tensor> gradients(const OutputGradients& from,
                                       const std::vector<torch::Tensor>& parameters) override {
    auto found = pass_.gradients(from, parameters, /*ready=*/{});
    trace_ = {};
    return found;
  }

  void set_runner(const PartRunner& run) override {
    if (run.autocast) {
      fail(
          "Autocast is on, but the trainer's steps are computed by formula, which it does not act on; use "
          "TrainerOptions::precision = MatmulPrecision::BFloat16 instead of it, or path = Path::Generic with it.");
    }
  }
  Path path() const override { return Path::ClosedForm; }

 private:
  Model model_;
  BlockSlice slice_;
  ClosedFormPasses inputs_;  ///< checks x
  ClosedFormPass pass_;
  torch::Tensor input_;
  Trace trace_;
};

}  // namespace creditlib::detail
