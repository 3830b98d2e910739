// SPDX-License-Identifier: Apache-2.0
#include "../rules.hpp"
#include "../test.hpp"
#include "mutated.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Learns into the network.
struct LearnsIntoTheModel {
  struct State : TargetProjection::State {
    template <class Model>
    void learn(Model& model, const Trace& trace) {
      model->readout(trace.hidden.back()).sum().backward();
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context)};
  }
};

/// Draws from torch's global generator when it learns.
struct DrawsAsItLearns {
  struct State : TargetProjection::State {
    template <class Model>
    void learn(Model&, const Trace&) {
      for (auto& matrix : feedback) matrix.add_(torch::randn_like(matrix), 0.01);
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context)};
  }
};

/// Has a learn that changes nothing.
struct LearnsNothing {
  struct State : TargetProjection::State {
    template <class Model>
    void learn(Model&, const Trace&) {}
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context)};
  }
};

/// Learns, and has nothing of it in its checkpoint.
struct LearnsInSecret {
  struct State : LearnedProjection::State {
    NamedTensors named_tensors() const { return {{"learned", learned}}; }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {LearnedProjection{}.bind(model, context)};
  }
};

}  // namespace

TEST_CASE("the law of learning fails on a rule that learns into the network, draws, or learns nothing",
          "[credit][law]") {
  const auto law = "learning leaves the model";

  CHECK(verdict<LearnsIntoTheModel, LearnedProjection>(law).what.find("grad.readout") == 0);
  CHECK(verdict<DrawsAsItLearns, LearnedProjection>(law) == failed("global generator differs"));
  CHECK(verdict<LearnsNothing, LearnedProjection>(law) == failed("learning changes nothing of the source"));
}

TEST_CASE("the law of resumed runs fails on a rule that keeps state from the checkpoint", "[credit][law]") {
  CHECK(verdict<Faulty<Forgets>>("a resumed run is the same").what.find("differs") != std::string::npos);
  CHECK(verdict<LearnsInSecret, LearnedProjection>("a resumed run is the same").what.find("differs") !=
        std::string::npos);
}
