#pragma once

#include <creditlib/cuda/graphable.hpp>
#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "support/any_model.hpp"
#include "support/program.hpp"

#ifdef CREDITLIB_CUDA_GRAPHS
#include <creditlib/cuda/graphed_step.hpp>
#endif

namespace support {

/// A trainer of any policies with its model, behind one type.
class AnyTrainer {
 public:
  virtual ~AnyTrainer() = default;
  virtual creditlib::StepResult step(const torch::Tensor& x, const torch::Tensor& y) = 0;
  /// From now on steps run in CUDA graphs. Throws UsageError where they cannot.
  virtual void use_cuda_graphs() = 0;
  virtual void learn(const torch::Tensor& x, const torch::Tensor& y) = 0;
  virtual void end_epoch() = 0;
  virtual Tensors raw_credits(const torch::Tensor& x, const torch::Tensor& y) = 0;
  virtual Tensors gradients(const torch::Tensor& x, const torch::Tensor& y) = 0;
  virtual creditlib::NamedTensors credit_tensors() const = 0;
  virtual void save(const std::filesystem::path& path) const = 0;
  virtual void load(const std::filesystem::path& path) = 0;
  /// The schedule's weight of each credit source; {1} where there is one.
  virtual std::vector<double> weights() const = 0;
  /// What equilibrium propagation says of its last step: how far the nudge moved each hidden state; else empty.
  virtual std::vector<double> relative_nudge() const = 0;
  /// A new trainer of the same method on the same model, whose source draws from another seed.
  virtual std::unique_ptr<AnyTrainer> with_seed(std::int64_t seed) const = 0;
  virtual double rate() const = 0;
  virtual std::int64_t epoch() const = 0;
  virtual std::int64_t steps() const = 0;
  virtual const creditlib::TrainerOptions& options() const = 0;

  AnyModel& model() { return *model_; }

 protected:
  explicit AnyTrainer(std::shared_ptr<AnyModel> model) : model_(std::move(model)) {}

 private:
  std::shared_ptr<AnyModel> model_;
};

using WithSeed = std::function<std::unique_ptr<AnyTrainer>(std::int64_t)>;

template <class Trainer>
class HeldTrainer final : public AnyTrainer {
 public:
  HeldTrainer(Trainer trainer, std::shared_ptr<AnyModel> model, WithSeed with_seed)
      : AnyTrainer(std::move(model)), trainer_(std::move(trainer)), with_seed_(std::move(with_seed)) {}

  creditlib::StepResult step(const torch::Tensor& x, const torch::Tensor& y) override {
    return graphs_ ? graphs_(x, y) : trainer_.step(x, y);
  }
  void use_cuda_graphs() override {
    if constexpr (!creditlib::cuda::Graphable<Trainer>) {
      throw UsageError(
          "--cuda-graph: this method's steps cannot be captured, since its credit source learns or changes something "
          "on the host");
    } else {
#ifdef CREDITLIB_CUDA_GRAPHS
      graphs_ = [graphed = std::make_shared<creditlib::cuda::GraphedStep<Trainer>>(trainer_)](
                    const auto& x, const auto& y) { return graphed->step(x, y); };
#else
      throw UsageError(
          "--cuda-graph: this program was built without a CUDA toolkit; install one of LibTorch's version and build "
          "again");
#endif
    }
  }
  void learn(const torch::Tensor& x, const torch::Tensor& y) override { trainer_.learn(x, y); }
  void end_epoch() override { trainer_.end_epoch(); }
  Tensors raw_credits(const torch::Tensor& x, const torch::Tensor& y) override { return trainer_.raw_credits(x, y); }
  Tensors gradients(const torch::Tensor& x, const torch::Tensor& y) override { return trainer_.gradients(x, y); }
  creditlib::NamedTensors credit_tensors() const override {
    if constexpr (requires { trainer_.state().named_tensors(); }) {
      return trainer_.state().named_tensors();
    } else if constexpr (requires {
                           trainer_.state().first.named_tensors();
                           trainer_.state().second.named_tensors();
                         }) {
      auto tensors = creditlib::prefixed("first", trainer_.state().first.named_tensors());
      for (auto& entry : creditlib::prefixed("second", trainer_.state().second.named_tensors()))
        tensors.push_back(entry);
      return tensors;
    } else {
      return {};
    }
  }
  void save(const std::filesystem::path& path) const override { trainer_.save(path); }
  void load(const std::filesystem::path& path) override { trainer_.load(path); }
  std::vector<double> weights() const override {
    if constexpr (requires { trainer_.weights(); }) {
      const auto weights = trainer_.weights();
      return {weights.begin(), weights.end()};
    } else {
      return {1};
    }
  }
  std::vector<double> relative_nudge() const override {
    if constexpr (requires { trainer_.state().relative_nudge; }) {
      const auto nudge = trainer_.state().relative_nudge.to(torch::kCPU, torch::kFloat64).contiguous();
      return {nudge.template data_ptr<double>(), nudge.template data_ptr<double>() + nudge.numel()};
    } else {
      return {};
    }
  }
  std::unique_ptr<AnyTrainer> with_seed(std::int64_t seed) const override {
    if (!with_seed_) creditlib::detail::fail("This trainer cannot be made again with another seed.");
    return with_seed_(seed);
  }
  double rate() const override { return trainer_.rate(); }
  std::int64_t epoch() const override { return trainer_.epoch(); }
  std::int64_t steps() const override { return trainer_.steps(); }
  const creditlib::TrainerOptions& options() const override { return trainer_.options(); }

 private:
  Trainer trainer_;
  std::function<creditlib::StepResult(const torch::Tensor&, const torch::Tensor&)>
      graphs_;  ///< the step in CUDA graphs, where it is
  WithSeed with_seed_;
};

template <class Trainer>
std::unique_ptr<AnyTrainer> any_trainer(Trainer trainer, std::shared_ptr<AnyModel> model, WithSeed with_seed = {}) {
  return std::make_unique<HeldTrainer<Trainer>>(std::move(trainer), std::move(model), std::move(with_seed));
}

}  // namespace support
