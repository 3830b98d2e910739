#pragma once

#include <creditlib/diagnostics/finite.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/trainer_options.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace support {

/// A trainer of any policies with its model behind one type, so that a program's loops are written, and compiled, once.
class AnyTrainer {
 public:
  using Tensors = std::vector<torch::Tensor>;

  virtual ~AnyTrainer() = default;
  virtual creditlib::StepResult step(const torch::Tensor& x, const torch::Tensor& y) = 0;
  virtual void end_epoch() = 0;
  virtual Tensors raw_credits(const torch::Tensor& x, const torch::Tensor& y) = 0;
  virtual creditlib::NamedTensors credit_tensors() const = 0;
  virtual double rate() const = 0;
  virtual std::int64_t epoch() const = 0;
  virtual std::int64_t steps() const = 0;
  virtual const creditlib::TrainerOptions& options() const = 0;

  virtual torch::nn::Module& module() = 0;
  virtual torch::Tensor logits(const torch::Tensor& x) = 0;
  virtual Tensors hidden_states(const torch::Tensor& x) = 0;
  virtual Tensors true_gradients(const torch::Tensor& x, const torch::Tensor& y) = 0;
  virtual std::optional<std::string> first_not_finite(const torch::Tensor& x) = 0;
};

template <class Trainer>
class HeldTrainer final : public AnyTrainer {
 public:
  explicit HeldTrainer(Trainer trainer) : trainer_(std::move(trainer)) {}

  creditlib::StepResult step(const torch::Tensor& x, const torch::Tensor& y) override { return trainer_.step(x, y); }
  void end_epoch() override { trainer_.end_epoch(); }
  Tensors raw_credits(const torch::Tensor& x, const torch::Tensor& y) override { return trainer_.raw_credits(x, y); }
  creditlib::NamedTensors credit_tensors() const override {
    if constexpr (requires { trainer_.state().named_tensors(); }) {
      return trainer_.state().named_tensors();
    } else {
      return {};
    }
  }
  double rate() const override { return trainer_.rate(); }
  std::int64_t epoch() const override { return trainer_.epoch(); }
  std::int64_t steps() const override { return trainer_.steps(); }
  const creditlib::TrainerOptions& options() const override { return trainer_.options(); }

  torch::nn::Module& module() override { return *trainer_.model(); }
  torch::Tensor logits(const torch::Tensor& x) override { return trainer_.model()->forward(x); }
  Tensors hidden_states(const torch::Tensor& x) override { return creditlib::diagnostics::hidden_states(trainer_.model(), x); }
  Tensors true_gradients(const torch::Tensor& x, const torch::Tensor& y) override {
    return creditlib::diagnostics::true_gradients(trainer_.model(), x, y);
  }
  std::optional<std::string> first_not_finite(const torch::Tensor& x) override {
    return creditlib::diagnostics::first_not_finite(trainer_.model(), x);
  }

 private:
  Trainer trainer_;
};

template <class Trainer>
std::unique_ptr<AnyTrainer> any_trainer(Trainer trainer) {
  return std::make_unique<HeldTrainer<Trainer>>(std::move(trainer));
}

}  // namespace support
