// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/bind_context.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/trace.hpp>
#include <vector>

namespace toy_lq {

/// A learned source whose nets see the target y where they would see the error e. e is the loss, nearly: a net that is
/// told e can predict the loss without looking at the state.
template <class Source>
struct SeesTarget {
  Source source;

  template <class Inner>
  struct State {
    static constexpr bool data_parallel = Inner::data_parallel;
    Inner inner;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const creditlib::Trace& trace) const {
      return inner.credit(model, seen(trace));
    }
    template <class Model>
    void learn(Model& model, const creditlib::Trace& trace) {
      trace.loss_gradient();  // of the true error, kept by the graph that both traces share
      inner.learn(model, seen(trace));
    }
    creditlib::NamedTensors named_tensors() const { return inner.named_tensors(); }

   private:
    static creditlib::Trace seen(creditlib::Trace trace) {
      trace.error = trace.target;
      return trace;
    }
  };

  template <class Model>
  auto bind(Model& model, const creditlib::BindContext& context) const {
    return State<decltype(source.bind(model, context))>{source.bind(model, context)};
  }
};

}  // namespace toy_lq
