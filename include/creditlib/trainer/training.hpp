// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/detail/parameter_parts.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/optim/clip.hpp>
#include <creditlib/scope/generators.hpp>
#include <creditlib/scope/untouched.hpp>
#include <creditlib/trainer/checkpoint.hpp>
#include <creditlib/trainer/data_parallel.hpp>
#include <creditlib/trainer/expected_logits.hpp>
#include <creditlib/trainer/facts.hpp>
#include <creditlib/trainer/update.hpp>
#include <creditlib/trainer_options.hpp>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// What local training and back-propagation share: the model and its parts, the optimizer, the rate and the clip, epoch
/// and step, checkpoints.
template <class Model>
class Training {
 public:
  Training(Model model, const TrainerOptions& options, UpdatePolicies policies)
      : options_(checked(options)), model_(std::move(model)), parts_(parameter_parts(model_)) {
    check_together();
    policies = completed(std::move(policies), options_);
    rate_ = policies.rate();
    optimizer_ = policies.optimizer(parts_, options_);
    clip_ = std::move(policies.clip);
    progress_.epochs = options_.epochs;
    factor();  // an invalid rate is refused now
  }

  Model& model() { return model_; }
  const Model& model() const { return model_; }
  const TrainerOptions& options() const { return options_; }
  torch::Device device() const { return device_; }
  torch::Dtype dtype() const { return dtype_; }
  const Progress& progress() const { return progress_; }
  /// For steps that the device took without the host: CUDA graphs.
  void set_progress(const Progress& progress) { progress_ = progress; }
  double rate() const { return optimizer_->lr() * factor(); }
  void report(double value) { rate_->report(value); }
  bool graphable() const { return optimizer_->graphable() && !tracks_norms_ && !together_; }

  /// The processes that train together.
  const DataParallel& together() const { return together_; }
  /// Throws Error on all of them unless all have the same state. `type` is the trainer's, `extra` and `generators` are
  /// the credit source's.
  void agree(const std::string& type, const NamedTensors& extra,
             const std::vector<torch::Generator>& generators) const {
    if (!together_) return;
    auto [named, added, counters] = checkpoint(extra, generators);
    named.insert(named.end(), added.begin(), added.end());
    together_.agree("The trainer", {{"the trainer's type", type}}, named);
  }

  /// Throws Error, before anything is changed, for a batch or a model that does not fit. Returns logits for the batch, of
  /// the right shape and no meaning.
  template <class Objective>
  torch::Tensor check_batch(const Objective& objective, const torch::Tensor& x, const torch::Tensor& y) const {
    check_model_unmoved();
    if (!x.defined() || x.dim() == 0 || x.size(0) == 0) {
      fail("The batch x is ", tensor_text(x), ", expected at least one sample in dimension 0.");
    }
    if (x.device() != device_ || (x.is_floating_point() && x.scalar_type() != dtype_)) {
      fail("The batch x is ", tensor_text(x), ", but the model is ", dtype_text(dtype_), " on ", device_,
           "; convert x with x.to(device, dtype).");
    }
    if (!y.defined() || y.dim() == 0 || y.size(0) != x.size(0)) {
      fail("The target is ", tensor_text(y), ", expected one for each of the ", x.size(0), " samples of x.");
    }
    Model model = model_;
    const auto shape = logits_shape(model);
    auto logits = zero_.expand(expected_logits(shape, x, y));
    check_expected(objective, logits, y, shape);
    return logits;
  }

  /// The model's parameters in the order of distinct_parameters.
  const std::vector<torch::Tensor>& parameters() const { return parts_.all; }
  const ParameterParts& parts() const { return parts_; }

  /// The model's buffers: running statistics, which a forward pass in train mode changes.
  std::vector<torch::Tensor> buffers() const { return has_buffers_ ? model_->buffers() : std::vector<torch::Tensor>{}; }

  /// Gradients in that order, undefined if a parameter is frozen or no gradient reaches it, clipped.
  std::vector<torch::Tensor> clipped(std::vector<torch::Tensor> gradients) const {
    if (clip_) clip_(gradients, parts_);
    return gradients;
  }

  /// From now on the norms of each step's gradients are kept, or no longer.
  void track_norms(bool on) {
    tracks_norms_ = on;
    norms_.reset();
  }
  const std::optional<GradientNorms>& norms() const { return norms_; }

  /// Sets the rate of the step that comes.
  void begin_step() {
    const double now = factor();
    if (now == 0 && progress_.step > 0 && !said_that_rate_is_0_) {
      said_that_rate_is_0_ = true;
      TORCH_WARN("creditlib: the learning rate is 0 in epoch ", progress_.epoch, ", step ", progress_.step,
                 ", so steps change no parameter (TrainerOptions::epochs is ", progress_.epochs,
                 "); train for fewer epochs, or give the trainer more of them or another rate.");
    }
    if (now != set_factor_) optimizer_->set_rate(now);
    set_factor_ = now;
  }

  /// One optimizer step with these gradients, which the parameters' .grad() hold afterwards.
  void apply(std::vector<torch::Tensor> gradients) {
    gradients = recorded(std::move(gradients));
    for (std::size_t i = 0; i < gradients.size(); ++i) gradient(i) = std::move(gradients[i]);
    optimizer_->step();
    count_step();
  }
  void count_step() {
    ++progress_.step;
    ++progress_.epoch_step;
  }

  /// What the parameters' .grad() hold; they hold nothing afterwards, so that no pass writes into it.
  std::vector<torch::Tensor> take_gradients() {
    std::vector<torch::Tensor> taken;
    for (std::size_t i = 0; i < parts_.all.size(); ++i) taken.push_back(std::exchange(gradient(i), {}));
    return taken;
  }
  void put_back(std::vector<torch::Tensor> taken) {
    for (std::size_t i = 0; i < taken.size(); ++i) gradient(i) = std::move(taken[i]);
  }
  /// Adds a step's gradients to what was taken.
  void accumulate(std::vector<torch::Tensor> taken, std::vector<torch::Tensor> gradients) {
    const torch::NoGradGuard no_grad;
    gradients = recorded(std::move(gradients));
    for (std::size_t i = 0; i < taken.size(); ++i) {
      if (!taken[i].defined()) {
        taken[i] = std::move(gradients[i]);
      } else if (gradients[i].defined()) {
        taken[i].add_(gradients[i]);
      }
    }
    put_back(std::move(taken));
  }

  void end_epoch() {
    ++progress_.epoch;
    progress_.epoch_step = 0;
  }

  /// Calls `action`, and puts back what steps change. `extra` and `generators` are the credit source's.
  template <class Action>
  void rehearse(const NamedTensors& extra, std::vector<torch::Generator> generators, const Action& action) {
    std::vector<torch::Tensor> tensors;
    for (const auto& entry : checkpoint(extra, {}).named) tensors.push_back(entry.second);
    const scope::RestoredTensors restored_tensors(std::move(tensors));
    const scope::RestoredGlobalGenerators global_generators(device_);
    const scope::RestoredGenerators restored_generators(std::move(generators));
    const auto serialized = optimizer_->is_serialized() ? optimizer_->serialized() : torch::Tensor();
    const auto progress = progress_;
    const auto norms = norms_;
    auto gradients = take_gradients();
    const auto put_all_back = [&] {
      put_back(std::move(gradients));
      progress_ = progress;
      norms_ = norms;
      set_factor_ = unset;
      if (serialized.defined()) optimizer_->deserialize(serialized);
    };
    try {
      action();
    } catch (...) {
      put_all_back();
      throw;
    }
    put_all_back();
  }

  struct Counters {
    torch::Tensor epoch, step, epoch_step;
    std::vector<torch::Tensor> generators;
  };

  /// What a checkpoint keeps, by name; numbers are stored as tensors.
  struct Contents {
    NamedTensors named;
    NamedTensors added;  ///< what earlier versions did not write
    Counters counters;
  };
  Contents checkpoint(const NamedTensors& extra, const std::vector<torch::Generator>& generators) const {
    NamedTensors named;
    for (std::size_t i = 0; i < parts_.all.size(); ++i) named.emplace_back("model." + parts_.names[i], parts_.all[i]);
    for (const auto& buffer : model_->named_buffers()) {
      if (buffer.value().defined()) named.emplace_back("model." + buffer.key(), buffer.value());
    }
    for (auto& entry : prefixed("optimizer", optimizer_->named_tensors())) named.push_back(std::move(entry));
    for (auto& entry : prefixed("rate", rate_->named_tensors())) named.push_back(std::move(entry));
    named.insert(named.end(), extra.begin(), extra.end());
    const auto number = [](std::int64_t value) { return torch::full({}, value, torch::kInt64); };
    Counters counters{number(progress_.epoch), number(progress_.step), number(progress_.epoch_step), {}};
    for (const auto& generator : generators) counters.generators.push_back(generator.get_state());
    named.emplace_back("trainer.epoch", counters.epoch);
    named.emplace_back("trainer.step", counters.step);
    for (auto& entry : numbered("trainer.generator", counters.generators)) named.push_back(std::move(entry));
    return {std::move(named), {{"trainer.epoch_step", counters.epoch_step}}, std::move(counters)};
  }

  /// `extra` and `generators` are the credit source's.
  void save(const std::filesystem::path& path, const NamedTensors& extra,
            const std::vector<torch::Generator>& generators) const {
    auto [named, added, counters] = checkpoint(extra, generators);
    named.insert(named.end(), added.begin(), added.end());
    if (optimizer_->is_serialized()) named.emplace_back(serialized_name, optimizer_->serialized());
    save_tensors(path, named);
  }

  /// The tensors of these names in the file are for other processes: `elsewhere`.
  void load(const std::filesystem::path& path, const NamedTensors& extra, std::vector<torch::Generator> generators,
            const std::set<std::string>& elsewhere = {}) {
    check_model_unmoved();
    auto [named, added, counters] = checkpoint(extra, generators);
    std::erase_if(named, [&](const auto& entry) { return elsewhere.contains(entry.first); });
    std::optional<SerializedState> state;
    if (optimizer_->is_serialized()) {
      state = {serialized_name, [&](const torch::Tensor& saved) { optimizer_->deserialize(saved); }};
    }
    restore_tensors(path, named, added, state, elsewhere);
    progress_.epoch = counters.epoch.template item<std::int64_t>();
    progress_.step = counters.step.template item<std::int64_t>();
    progress_.epoch_step = counters.epoch_step.template item<std::int64_t>();
    for (std::size_t i = 0; i < generators.size(); ++i) {
      const std::lock_guard<std::mutex> lock(generators[i].mutex());
      generators[i].set_state(counters.generators[i]);
    }
    set_factor_ = unset;
  }

 private:
  /// That the processes have the same model and options, which then starts equal on all.
  void check_together() const {
    if (!together_) return;
    together_.agree("The trainer", facts_of(options_, model_, parts_), {});
    together_.share(parts_.all);
    together_.share(buffers());
  }

  static constexpr double unset = -1;
  static constexpr const char* serialized_name = "optimizer.serialized";

  static TrainerOptions checked(const TrainerOptions& options) {
    options.check();
    return options;
  }

  torch::Tensor& gradient(std::size_t i) { return torch::Tensor(parts_.all[i]).mutable_grad(); }

  /// What the rate says now.
  double factor() const {
    const double factor = rate_->factor(progress_);
    if (!(factor >= 0) || std::isinf(factor)) {
      fail("The rate gives the factor ", factor, " in epoch ", progress_.epoch, ", step ", progress_.step,
           "; expected a finite number >= 0.");
    }
    return factor;
  }

  /// Clipped, with norms kept if they are asked for.
  std::vector<torch::Tensor> recorded(std::vector<torch::Tensor> gradients) {
    if (!tracks_norms_) return clipped(std::move(gradients));
    auto unscaled = norms_of(gradients);
    gradients = clipped(std::move(gradients));
    norms_ = {std::move(unscaled), norms_of(gradients)};
    return gradients;
  }
  torch::Tensor norms_of(const std::vector<torch::Tensor>& gradients) const {
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> norms;
    const auto add = [&](const std::vector<std::size_t>& positions) {
      const auto own = defined_at(gradients, positions);
      norms.push_back(own.empty() ? torch::zeros({}, parts_.all[0].options().requires_grad(false)) : joint_norm(own));
    };
    add(parts_.embed);
    for (const auto& block : parts_.blocks) add(block);
    add(parts_.readout);
    return at::stack(norms);
  }

  void check_model_unmoved() const {
    for (std::size_t i = 0; i < parts_.all.size(); ++i) {
      if (parts_.all[i].scalar_type() == dtype_ && parts_.all[i].device() == device_) continue;
      fail("Parameter ", parts_.names[i], " is ", tensor_text(parts_.all[i]), ", but the trainer was made for ",
           dtype_text(dtype_), " on ", device_, "; move the model first and make a new trainer then.");
    }
  }

  TrainerOptions options_;
  Model model_;
  DataParallel together_{options_.group};
  ParameterParts parts_;
  torch::Device device_ = parts_.all[0].device();
  torch::Dtype dtype_ = parts_.all[0].scalar_type();
  torch::Tensor zero_ =
      torch::zeros({}, torch::TensorOptions(dtype_).device(device_));  ///< of which logits can be made
  std::unique_ptr<AnyRate> rate_;
  std::unique_ptr<AnyOptimizer> optimizer_;
  std::function<void(std::vector<torch::Tensor>&, const ParameterParts&)> clip_;
  bool has_buffers_ = !model_->buffers().empty();
  Progress progress_;
  double set_factor_ = unset;  ///< what the optimizer was told last
  bool said_that_rate_is_0_ = false;
  bool tracks_norms_ = false;
  std::optional<GradientNorms> norms_;
};

}  // namespace creditlib::detail
