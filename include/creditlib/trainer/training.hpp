// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/detail/parameter_parts.hpp>
#include <creditlib/optim/adamw.hpp>
#include <creditlib/optim/clip.hpp>
#include <creditlib/optim/rate.hpp>
#include <creditlib/optim/sgd.hpp>
#include <creditlib/trainer/checkpoint.hpp>
#include <creditlib/trainer_options.hpp>
#include <filesystem>
#include <numeric>
#include <utility>
#include <variant>
#include <vector>

namespace creditlib::detail {

/// What local training and back-propagation share: the model and its parts, one optimizer, the rate, epoch and step,
/// checkpoints.
template <class Model>
class Training {
 public:
  Training(Model model, const TrainerOptions& options)
      : options_(checked(options)),
        model_(std::move(model)),
        parts_(parameter_parts(model_)),
        optimizer_(make_optimizer()) {
    set_rate();
  }

  Model& model() { return model_; }
  const Model& model() const { return model_; }
  const TrainerOptions& options() const { return options_; }
  torch::Device device() const { return device_; }
  torch::Dtype dtype() const { return dtype_; }
  std::int64_t epoch() const { return epoch_; }
  std::int64_t steps() const { return step_; }
  /// For steps that the device took without the host: CUDA graphs.
  void set_steps(std::int64_t steps) { step_ = steps; }
  double rate() const {
    return std::visit([](const auto& optimizer) { return optimizer.lr(); }, optimizer_);
  }
  Progress progress() const { return {epoch_, options_.epochs, step_}; }

  /// Throws Error, before anything is changed, for a batch or a model that does not fit.
  template <class Objective>
  void check_batch(const Objective& objective, const torch::Tensor& x, const torch::Tensor& y) const {
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
    const auto like_logits =
        torch::zeros({1, 1}, x.options().dtype(dtype_)).expand({x.size(0), std::int64_t{model_->classes()}});
    objective.check(like_logits, y);
  }

  /// The model's parameters in the order of its parameters().
  const std::vector<torch::Tensor>& parameters() const { return parts_.all; }

  /// The model's buffers: running statistics, which a forward pass in train mode changes.
  std::vector<torch::Tensor> buffers() const { return has_buffers_ ? model_->buffers() : std::vector<torch::Tensor>{}; }

  /// Gradients in that order, undefined if a parameter is frozen or no gradient reaches it, clipped as the options say.
  std::vector<torch::Tensor> clipped(std::vector<torch::Tensor> gradients) const {
    if (options_.clip_norm) {
      for (const auto& group : clip_groups()) optim::clip_norm(gradients, group, *options_.clip_norm);
    }
    return gradients;
  }

  /// One optimizer step with these gradients, which the parameters' .grad() hold afterwards.
  void apply(std::vector<torch::Tensor> gradients) {
    for (std::size_t i = 0; i < gradients.size(); ++i)
      torch::Tensor(parts_.all[i]).mutable_grad() = std::move(gradients[i]);
    std::visit([](auto& optimizer) { optimizer.step(); }, optimizer_);
    ++step_;
  }

  void end_epoch() {
    ++epoch_;
    set_rate();
  }

  /// `extra` and `generators` are the credit source's.
  void save(const std::filesystem::path& path, const NamedTensors& extra,
            const std::vector<torch::Generator>& generators) const {
    auto [named, counters] = checkpoint(extra, generators);
    save_tensors(path, named);
  }

  void load(const std::filesystem::path& path, const NamedTensors& extra, std::vector<torch::Generator> generators) {
    check_model_unmoved();
    auto [named, counters] = checkpoint(extra, generators);
    restore_tensors(path, named);
    epoch_ = counters.epoch.template item<std::int64_t>();
    step_ = counters.step.template item<std::int64_t>();
    for (std::size_t i = 0; i < generators.size(); ++i) {
      const std::lock_guard<std::mutex> lock(generators[i].mutex());
      generators[i].set_state(counters.generators[i]);
    }
    set_rate();
  }

 private:
  static TrainerOptions checked(const TrainerOptions& options) {
    options.check();
    return options;
  }

  struct Counters {
    torch::Tensor epoch, step;
    std::vector<torch::Tensor> generators;
  };

  /// A checkpoint's contents by name; numbers are stored as tensors.
  std::pair<NamedTensors, Counters> checkpoint(const NamedTensors& extra,
                                               const std::vector<torch::Generator>& generators) const {
    NamedTensors named;
    for (std::size_t i = 0; i < parts_.all.size(); ++i) named.emplace_back("model." + parts_.names[i], parts_.all[i]);
    for (const auto& buffer : model_->named_buffers()) {
      if (buffer.value().defined()) named.emplace_back("model." + buffer.key(), buffer.value());
    }
    const auto moments = std::visit([](const auto& optimizer) { return optimizer.named_tensors(); }, optimizer_);
    for (auto& entry : prefixed("optimizer", moments)) named.push_back(std::move(entry));
    named.insert(named.end(), extra.begin(), extra.end());
    Counters counters{torch::full({}, epoch_, torch::kInt64), torch::full({}, step_, torch::kInt64), {}};
    for (const auto& generator : generators) counters.generators.push_back(generator.get_state());
    named.emplace_back("trainer.epoch", counters.epoch);
    named.emplace_back("trainer.step", counters.step);
    for (auto& entry : numbered("trainer.generator", counters.generators)) named.push_back(std::move(entry));
    return {std::move(named), std::move(counters)};
  }

  std::variant<optim::AdamW, optim::SGD> make_optimizer() {
    if (options_.optimizer == Optimizer::SGD) {
      return optim::SGD(parts_.all,
                        {.lr = options_.lr, .weight_decay = options_.weight_decay, .momentum = options_.momentum});
    }
    return optim::AdamW(parts_.all, {.lr = options_.lr, .weight_decay = options_.weight_decay});
  }

  void set_rate() {
    const double lr = optim::rate_at(options_.rate, options_.lr, epoch_, options_.epochs);
    std::visit([lr](auto& optimizer) { optimizer.set_lr(lr); }, optimizer_);
  }

  void check_model_unmoved() const {
    for (std::size_t i = 0; i < parts_.all.size(); ++i) {
      if (parts_.all[i].scalar_type() == dtype_ && parts_.all[i].device() == device_) continue;
      fail("Parameter ", parts_.names[i], " is ", tensor_text(parts_.all[i]), ", but the trainer was made for ",
           dtype_text(dtype_), " on ", device_, "; move the model first and make a new trainer then.");
    }
  }

  /// Positions of the parameters whose gradients are clipped together.
  std::vector<std::vector<std::size_t>> clip_groups() const {
    if (options_.clip_scope == ClipScope::Block) return parts_.blocks;
    std::vector<std::size_t> all(parts_.all.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    return {all};
  }

  TrainerOptions options_;
  Model model_;
  ParameterParts parts_;
  torch::Device device_ = parts_.all[0].device();
  torch::Dtype dtype_ = parts_.all[0].scalar_type();
  std::variant<optim::AdamW, optim::SGD> optimizer_;
  bool has_buffers_ = !model_->buffers().empty();
  std::int64_t epoch_ = 0, step_ = 0;
};

}  // namespace creditlib::detail
