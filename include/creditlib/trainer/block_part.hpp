// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/batchnorm.h>
#include <torch/types.h>

#include <algorithm>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/distributed/detail/agreement.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/network/detail/parameter_parts.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/trainer/block_checkpoint.hpp>
#include <creditlib/trainer/block_split.hpp>
#include <creditlib/trainer/closed_form_passes.hpp>
#include <creditlib/trainer/facts.hpp>
#include <creditlib/trainer/slice_pass.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// What a process does in block-parallel training: it runs its own blocks, whose input it receives from the rank below and
/// whose output it sends to the rank above.
template <BlockModel Model>
class BlockPart {
 public:
  /// The processes agree on what they are about to do, and each gets rank 0's weights of its own blocks.
  BlockPart(Model model, const TrainerOptions& options, const std::string& type, std::int64_t micro_batches,
            const std::vector<std::int64_t>& blocks)
      : model_(std::move(model)),
        group_(options.group ? options.group : distributed::alone()),
        micro_batches_(micro_batches),
        parts_(parameter_parts(model_)),
        split_(agreed_split(options, type, blocks)) {
    find_batch_norms();
    refuse_batch_statistics();
    pass_ = chosen_pass(options);
    share_weights();
  }

  /// Parameters of other ranks become empty tensors, and their memory is free; and so do tensors of the credit source, of
  /// which `of_states[l]` belong to h_l. `named` are those of them that a checkpoint keeps.
  void release_others(const NamedTensors& named, const std::vector<std::vector<torch::Tensor>>& of_states) {
    split_.claim(named, of_states);
    const auto release = [](torch::Tensor tensor) {
      tensor.mutable_grad().reset();
      tensor.set_data(torch::empty({0}, tensor.options().requires_grad(false)));
    };
    for (std::size_t i = 0; i < parts_.all.size(); ++i) {
      if (split_.owner(i) != group_->rank()) release(parts_.all[i]);
    }
    for (std::size_t l = 0; l < of_states.size(); ++l) {
      if (split_.owner_of_state(static_cast<std::int64_t>(l)) == group_->rank()) continue;
      for (const auto& tensor : of_states[l]) {
        if (tensor.defined()) release(tensor);
      }
    }
  }

  const distributed::Group& group() const { return *group_; }
  bool first() const { return group_->rank() == 0; }
  bool last() const { return group_->rank() == group_->size() - 1; }
  const BlockSlice& slice() const { return split_.slice(group_->rank()); }
  const BlockSplit& split() const { return split_; }
  SlicePass& pass() const { return *pass_; }
  torch::Device device() const { return parts_.all[0].device(); }
  torch::Dtype dtype() const { return parts_.all[0].scalar_type(); }

  /// Throws Error if statistics of the batch would become those of a micro-batch.
  void refuse_batch_statistics() const {
    if (micro_batches_ == 1) return;
    for (const auto& [name, module] : batch_norms_) {
      if (!module->is_training()) continue;
      fail("BlockTrainer: ", name, " is a BatchNorm in train mode, whose statistics are those of the batch, but ",
           "micro_batches is ", micro_batches_, ", so that they would be a micro-batch's; use 1, or another norm.");
    }
  }

  // ---- A step's messages ----

  /// Runs the batch up through the blocks of all ranks. x is read by the first; `like` is of the model's dtype and device.
  /// While a micro-batch is computed, those before it may be on their way up, and those after it on their way here.
  void forward(const torch::Tensor& x, std::int64_t batch, const torch::Tensor& like) {
    const auto parts = std::min(micro_batches_, batch);
    pass_->begin(first() ? x : torch::empty(received_sizes(batch), like.options()));
    std::vector<std::unique_ptr<distributed::Pending>> received;
    for (std::int64_t i = 0; i < parts && !first(); ++i) {
      received.push_back(group_->begin_receive(pass_->input({i, parts}), group_->rank() - 1));
    }
    for (std::int64_t i = 0; i < parts; ++i) {
      if (!first()) received[static_cast<std::size_t>(i)]->wait();
      const auto out = pass_->run({i, parts});
      if (last()) continue;
      if (i == 0) send_sizes(out);
      sent_.push_back(group_->begin_send(out, group_->rank() + 1));
    }
  }
  /// Returns when the rank above has what forward() has sent, which may be changed from then on.
  void finish_sending() {
    for (auto& each : std::exchange(sent_, {})) each->wait();
  }

  /// The last rank's logits, on all ranks.
  torch::Tensor shared_logits(const torch::Tensor& of_last, std::int64_t batch, const torch::Tensor& like) {
    if (group_->size() == 1) return of_last;
    auto sizes = logits_shape(model_);
    sizes.insert(sizes.begin(), batch);
    if (differs_between_batches(sizes)) {
      auto said = last() ? sizes_tensor(of_last.sizes()) : sizes_tensor(sizes);
      group_->broadcast({said}, group_->size() - 1);
      sizes = sizes_in(said);
    }
    const auto logits = last() ? of_last.clone() : torch::empty(sizes, like.options());
    group_->broadcast({logits}, group_->size() - 1);
    return logits;
  }

  /// The whole network's logits for x, which rank 0 has, on all ranks. In the model's present mode.
  torch::Tensor logits(const torch::Tensor& x, const torch::Tensor& like) {
    const auto count = torch::full({}, first() ? x.size(0) : 0, torch::kInt64);
    if (group_->size() > 1) group_->broadcast({count}, 0);
    const auto batch = count.template item<std::int64_t>();
    torch::Tensor h;
    if (first()) {
      h = embedded(model_, x);
    } else {
      h = torch::empty(received_sizes(batch), like.options());
      group_->receive(h, group_->rank() - 1);
    }
    check_hidden(model_, slice().begin, h, batch);
    for (auto l = slice().begin; l < slice().end; ++l) h = join_of(model_, l, h, branch_of(model_, l, h));
    torch::Tensor logits;
    if (last()) {
      logits = logits_of(model_, h);
    } else {
      send_sizes(h);
      group_->send(h, group_->rank() + 1);
    }
    return shared_logits(logits, batch, like);
  }

  // ---- A checkpoint's messages ----

  /// All ranks' tensors of a checkpoint, on rank 0, from what each has under the same names.
  NamedTensors gathered(NamedTensors named) const { return detail::gathered(*group_, split_, std::move(named)); }

  /// Rank 0 does this, and the others wait for it. Throws its Error on all of them.
  template <class Action>
  void on_first(const Action& action) const {
    if (group_->size() == 1) return action();
    std::string failure;
    if (first()) {
      try {
        action();
      } catch (const Error& error) {
        failure = error.what();
      }
    }
    failure = shared_text(*group_, failure, 0);
    if (!failure.empty()) fail(failure);
  }

  /// Whether other ranks have this tensor of a checkpoint, and this one does not.
  bool is_elsewhere(const std::string& name) const {
    return split_.owner(name).value_or(group_->rank()) != group_->rank();
  }

  /// Throws the same Error on all ranks unless all have these facts, and those tensors of `named` that all have alike.
  void agree(Facts facts, const NamedTensors& named) const {
    if (group_->size() == 1) return;
    NamedTensors alike;
    for (const auto& entry : named) {
      if (!split_.owner(entry.first)) alike.push_back(entry);
    }
    add_facts(facts, alike);
    require_agreement(*group_, "BlockTrainer", facts);
  }

 private:
  BlockSplit agreed_split(const TrainerOptions& options, const std::string& type,
                          const std::vector<std::int64_t>& blocks) {
    if (group_->size() > 1) {
      auto facts = facts_of(options, model_, parts_);
      facts.emplace_back("the trainer's type", type);
      facts.emplace_back("BlockOptions::micro_batches", std::to_string(micro_batches_));
      facts.emplace_back("BlockOptions::blocks", shape_text(blocks));
      facts.emplace_back("the number of blocks", std::to_string(model_->blocks()));
      require_agreement(*group_, "BlockTrainer", facts);
    }
    return BlockSplit(model_, parts_, blocks, group_->size());
  }

  void find_batch_norms() {
    for (const auto& entry : model_->named_modules("", /*include_self=*/false)) {
      const auto& module = entry.value();
      const bool found = module->template as<torch::nn::BatchNorm1d>() != nullptr ||
                         module->template as<torch::nn::BatchNorm2d>() != nullptr ||
                         module->template as<torch::nn::BatchNorm3d>() != nullptr;
      if (found) batch_norms_.emplace_back(entry.key(), module);
    }
  }

  std::unique_ptr<SlicePass> chosen_pass(const TrainerOptions& options) {
    if (options.memory == Memory::Constant) {
      fail(
          "TrainerOptions: memory is Constant, but BlockTrainer keeps the activations of a rank's own blocks; use "
          "Memory::Activations.");
    }
    auto own = options;
    const bool on_cpu = parts_.all[0].is_cpu();
    if (!on_cpu && options.path == Path::ClosedForm) {
      fail(
          "TrainerOptions: path is ClosedForm, but BlockTrainer computes steps by formula on the CPU alone; use Auto.");
    }
    if (!on_cpu) own.path = Path::Generic;
    if (const auto network = chosen_closed_form(model_, own, parts_.all)) {
      return std::make_unique<FormulaSlice<Model>>(model_, slice(), part_of(*network, slice()), parts_.all,
                                                   options.precision);
    }
    return std::make_unique<GraphSlice<Model>>(model_, slice());
  }

  /// Rank 0's weights to those who train them, and its buffers to all.
  void share_weights() {
    if (group_->size() == 1) return;
    for (std::size_t i = 0; i < parts_.all.size(); ++i) {
      const auto owner = split_.owner(i);
      if (owner == 0) continue;
      if (first()) group_->send(parts_.all[i].detach(), owner);
      if (group_->rank() == owner) group_->receive(parts_.all[i].detach(), 0);
    }
    std::vector<torch::Tensor> buffers;
    for (const auto& buffer : model_->buffers()) {
      if (buffer.defined()) buffers.push_back(buffer);
    }
    if (!buffers.empty()) group_->broadcast(buffers, 0);
  }

  // ---- Sizes of states whose number of positions differs between batches ----

  static bool differs_between_batches(const std::vector<std::int64_t>& sizes) {
    return std::ranges::any_of(sizes, [](std::int64_t size) { return size < 0; });
  }
  static torch::Tensor sizes_tensor(torch::IntArrayRef sizes) { return torch::tensor(sizes, torch::kInt64); }
  static std::vector<std::int64_t> sizes_in(const torch::Tensor& said) {
    const auto* const begin = static_cast<const std::int64_t*>(said.const_data_ptr());
    return {begin, begin + said.numel()};
  }
  /// The sizes of h_begin.
  std::vector<std::int64_t> received_sizes(std::int64_t batch) {
    auto sizes = hidden_sizes(model_, slice().begin, batch);
    if (!differs_between_batches(sizes)) return sizes;
    auto said = sizes_tensor(sizes);
    group_->receive(said, group_->rank() - 1);
    sizes = sizes_in(said);
    sizes[0] = batch;
    return sizes;
  }
  void send_sizes(const torch::Tensor& h) {
    if (differs_between_batches(hidden_sizes(model_, slice().end, 1))) {
      group_->send(sizes_tensor(h.sizes()), group_->rank() + 1);
    }
  }

  Model model_;
  std::shared_ptr<distributed::Group> group_;
  std::int64_t micro_batches_;
  ParameterParts parts_;
  BlockSplit split_;
  std::vector<std::pair<std::string, std::shared_ptr<torch::nn::Module>>> batch_norms_;
  std::unique_ptr<SlicePass> pass_;
  std::vector<std::unique_ptr<distributed::Pending>> sent_;  ///< by the last forward()
};

}  // namespace creditlib::detail
