// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/bind_context.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/optim/adamw.hpp>
#include <creditlib/trace.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "test.hpp"

/// Credit rules of a user's own.
namespace creditlib::test {

/// A rule of a user's own, without state in its config: credit from the label alone.
struct TargetProjection {
  struct State {
    std::vector<torch::Tensor> feedback;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      std::vector<torch::Tensor> a;
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        a.push_back(
            spread(-feedback[l].index_select(1, trace.target).t().contiguous(), model, static_cast<std::int64_t>(l)));
      }
      return a;
    }

    std::vector<std::pair<std::string, torch::Tensor>> named_tensors() const {
      std::vector<std::pair<std::string, torch::Tensor>> named;
      for (std::size_t l = 0; l < feedback.size(); ++l)
        named.emplace_back("feedback." + std::to_string(l), feedback[l]);
      return named;
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    State state;
    for (std::int64_t l = 0; l <= model->blocks(); ++l) {
      state.feedback.push_back(context.randn({features(model, l), model->classes()}));
    }
    return state;
  }
};

/// A rule whose const credit draws from the trainer's generator.
struct HiddenDraws {
  struct State {
    BindContext context;

    template <class Model>
    std::vector<torch::Tensor> credit(Model&, const Trace& trace) const {
      std::vector<torch::Tensor> credits;
      for (const auto& h : trace.hidden) credits.push_back(context.randn(h.sizes()));
      return credits;
    }
  };

  template <class Model>
  State bind(Model&, const BindContext& context) const {
    return {context};
  }
};

/// A rule that draws at every call, from the trainer's generator.
struct NoisyProjection {
  struct State {
    TargetProjection::State base;
    BindContext context;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) {
      auto credits = base.credit(model, trace);
      for (auto& a : credits) {
        auto one_sample = a.sizes().vec();
        one_sample[0] = 1;
        a = a + context.randn(one_sample);
      }
      return credits;
    }
    NamedTensors named_tensors() const { return base.named_tensors(); }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context), context};
  }
};

/// A rule that learns, with the library's optimiser and counters: one matrix a hidden state, fitted to the gradient at
/// h_L.
struct LearnedProjection {
  struct State {
    std::vector<torch::Tensor> feedback;
    torch::Tensor learned, updates;
    optim::AdamW optimizer;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      std::vector<torch::Tensor> a;
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        a.push_back(spread(trace.error.mm(feedback[l].t()), model, static_cast<std::int64_t>(l)));
      }
      return a;
    }

    template <class Model>
    void learn(Model&, const Trace& trace) {
      const auto wanted = trace.loss_gradient().flatten(1).sum(1);
      torch::Tensor loss = torch::zeros({}, wanted.options());
      for (auto& matrix : feedback) loss = loss + (trace.error.mm(matrix.t()).sum(1) - wanted).square().mean();
      const auto gradients = torch::autograd::grad({loss}, feedback);
      for (std::size_t l = 0; l < feedback.size(); ++l) feedback[l].mutable_grad() = gradients[l];
      optimizer.step();
      learned.add_(1);
    }

    template <class Model>
    void after_step(Model&, const Trace&) {
      updates.add_(1);
    }

    NamedTensors named_tensors() const {
      auto named = numbered("feedback", feedback);
      named.emplace_back("learned", learned);
      named.emplace_back("updates", updates);
      for (auto& entry : prefixed("optimizer", optimizer.named_tensors())) named.push_back(entry);
      return named;
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    std::vector<torch::Tensor> feedback;
    for (std::int64_t l = 0; l <= model->blocks(); ++l) {
      feedback.push_back(context.randn({features(model, l), model->classes()}).requires_grad_());
    }
    return {feedback, torch::zeros({}, torch::kInt64), torch::zeros({}, torch::kInt64),
            optim::AdamW(feedback, {.lr = 0.1})};
  }
};

/// A rule that trains blocks and readout at other states than those of the forward pass.
struct ProjectionAtScaledStates {
  struct State : TargetProjection::State {
    template <class Model>
    std::vector<torch::Tensor> local_inputs(Model&, const Trace& trace) const {
      std::vector<torch::Tensor> states;
      for (const auto& h : trace.hidden) states.push_back(1.5 * h);
      return states;
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context)};
  }
};

}  // namespace creditlib::test
