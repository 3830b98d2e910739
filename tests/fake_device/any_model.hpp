// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <creditlib/closed_form/network.hpp>
#include <creditlib/network/shape.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace creditlib::test {

/// A network of any type behind one, so that each rule is compiled once and not once for each network.
class AnyModelImpl : public torch::nn::Module {
 public:
  virtual torch::Tensor embed(const torch::Tensor& x) = 0;
  virtual std::int64_t blocks() const = 0;
  virtual torch::Tensor block(std::int64_t l, const torch::Tensor& h) = 0;
  virtual torch::Tensor join(std::int64_t l, const torch::Tensor& h, const torch::Tensor& f) = 0;
  virtual torch::Tensor readout(const torch::Tensor& h) = 0;
  virtual torch::Tensor forward(const torch::Tensor& x) = 0;
  virtual std::int64_t classes() const = 0;
  virtual std::vector<std::int64_t> hidden_shape(std::int64_t l) const = 0;
  virtual std::vector<std::int64_t> logits_shape() const = 0;
  virtual HiddenLayout hidden_layout(std::int64_t l) const = 0;
  virtual std::vector<torch::Tensor> embed_parameters() const = 0;
  virtual std::vector<torch::Tensor> block_parameters(std::int64_t l) const = 0;
  virtual std::vector<torch::Tensor> readout_parameters() const = 0;
  virtual std::optional<closed_form::Network> closed_form() = 0;
};
using AnyModel = std::shared_ptr<AnyModelImpl>;

template <class Model>
class AnyModelOf final : public AnyModelImpl {
 public:
  explicit AnyModelOf(Model model) : model_(std::move(model)) { register_module("of", model_.ptr()); }

  torch::Tensor embed(const torch::Tensor& x) override { return model_->embed(x); }
  std::int64_t blocks() const override { return model_->blocks(); }
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) override { return model_->block(l, h); }
  torch::Tensor join(std::int64_t l, const torch::Tensor& h, const torch::Tensor& f) override {
    return model_->join(l, h, f);
  }
  torch::Tensor readout(const torch::Tensor& h) override { return model_->readout(h); }
  torch::Tensor forward(const torch::Tensor& x) override { return model_->forward(x); }
  std::int64_t classes() const override { return model_->classes(); }
  std::vector<std::int64_t> hidden_shape(std::int64_t l) const override { return model_->hidden_shape(l); }
  std::vector<std::int64_t> logits_shape() const override { return model_->logits_shape(); }
  HiddenLayout hidden_layout(std::int64_t l) const override { return model_->hidden_layout(l); }
  std::vector<torch::Tensor> embed_parameters() const override { return model_->embed_parameters(); }
  std::vector<torch::Tensor> block_parameters(std::int64_t l) const override { return model_->block_parameters(l); }
  std::vector<torch::Tensor> readout_parameters() const override { return model_->readout_parameters(); }
  std::optional<closed_form::Network> closed_form() override {
    if constexpr (requires { model_->closed_form(); }) {
      return model_->closed_form();
    } else {
      return std::nullopt;
    }
  }

 private:
  Model model_;
};

template <class Model>
AnyModel any_model(Model model) {
  return std::make_shared<AnyModelOf<Model>>(std::move(model));
}

}  // namespace creditlib::test
