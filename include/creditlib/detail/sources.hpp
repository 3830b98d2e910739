#pragma once

#include <array>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/features.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/requirements.hpp>
#include <creditlib/detail/untouched.hpp>
#include <creditlib/error.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <optional>
#include <tuple>
#include <vector>

namespace creditlib::detail {

/// The sources of a credit config: itself, or the two of a Mix; their requirements; their states.
template <class Credit, class Model>
struct SourceTraits {
  static constexpr std::size_t count = 1;
  using State = CreditState<Credit, Model>;
  static constexpr bool gives_factors = GivesFactors<State, Model>;
  static constexpr bool reads_error_only =
      gives_factors && ReadsErrorOnly<State> && !Learns<State, Model> && !SeesUpdates<State, Model>;

  static consteval bool sound() { return credit_is_sound<Credit, Model>(); }
  static constexpr std::array<bool, 1> pullback() { return {wants_pullback<Credit, State>()}; }
  static State bind(const Credit& credit, Model& model, const std::array<BindContext, 1>& contexts) {
    if constexpr (Binds<Credit, Model>) {
      return credit.bind(model, contexts[0]);
    } else {
      return credit;
    }
  }
  template <class S>
  static auto states(S& state) {
    return std::tie(state);
  }
  static std::string prefix(std::size_t) { return "credit"; }
};

template <class First, class Second, class Model>
struct SourceTraits<Mix<First, Second>, Model> {
  using A = SourceTraits<First, Model>;
  using B = SourceTraits<Second, Model>;
  static constexpr std::size_t count = 2;
  static constexpr bool gives_factors = A::gives_factors || B::gives_factors;
  static constexpr bool reads_error_only = A::reads_error_only && B::reads_error_only;
  struct State {
    typename A::State first;
    typename B::State second;
  };

  static consteval bool sound() {
    if constexpr (A::sound() & B::sound()) {
      constexpr bool both = HasLocalInputs<typename A::State, Model> && HasLocalInputs<typename B::State, Model>;
      static_assert(
          !both,
          "creditlib: both sources of this Mix have local_inputs, and a step can train at one set of states only");
      return !both;
    } else {
      return false;
    }
  }
  static constexpr std::array<bool, 2> pullback() { return {A::pullback()[0], B::pullback()[0]}; }
  static State bind(const Mix<First, Second>& credit, Model& model, const std::array<BindContext, 2>& contexts) {
    auto first = A::bind(credit.first, model, {contexts[0]});
    return {std::move(first), B::bind(credit.second, model, {contexts[1]})};
  }
  template <class S>
  static auto states(S& state) {
    return std::tie(state.first, state.second);
  }
  static std::string prefix(std::size_t i) { return i == 0 ? "credit.first" : "credit.second"; }
};

/// The bound sources of a trainer and their generators. It knows which of them a schedule's weights switch on.
template <class Credit, class Model>
class Sources {
 public:
  using Traits = SourceTraits<Credit, Model>;
  using State = typename Traits::State;
  static constexpr std::size_t count = Traits::count;
  using Weights = std::array<double, count>;

  Sources(const Credit& credit, Model& model, torch::Device device, torch::Dtype dtype, std::int64_t seed)
      : generators_(make_generators(seed)), state_(Traits::bind(credit, model, contexts(device, dtype))) {}

  State& state() { return state_; }
  const State& state() const { return state_; }
  std::vector<torch::Generator> generators() const { return {generators_.begin(), generators_.end()}; }

  /// Whether any source with a weight, or that learns, needs the blocks' transposed Jacobians.
  static bool pullbacks(const Weights& weights, const std::array<bool, count>& learning) {
    bool any = false;
    for (std::size_t i = 0; i < count; ++i) any = any || ((weights[i] != 0 || learning[i]) && Traits::pullback()[i]);
    return any;
  }

  /// The mixed credits of the sources with a weight, before the normalizer. Called with grad mode off.
  std::vector<torch::Tensor> credit(Model& model, const Trace& trace, const Weights& weights) {
    std::vector<torch::Tensor> mixed;
    const bool alone = active(weights) == 1;
    each([&](std::size_t i, auto& state) {
      if (weights[i] == 0) return;
      auto credits = state.credit(model, TraceAccess::restricted(trace, Traits::pullback()[i]));
      check(credits, trace, i);
      if (alone) {
        mixed = std::move(credits);
      } else {
        accumulate(mixed, credits, weights[i]);
      }
    });
    return mixed;
  }

  /// Whether any source can give its credit as factors.
  static constexpr bool factors = Traits::gives_factors;

  /// The credit of the one source with a weight, before the normalizer, as factors, where it can give it so. Called
  /// with grad mode off.
  std::optional<std::vector<FactoredCredit>> factored_credit(Model& model, const Trace& trace, const Weights& weights) {
    std::optional<std::vector<FactoredCredit>> factored;
    if (active(weights) != 1) return factored;
    each([&]<class S>(std::size_t i, S& state) {
      if constexpr (GivesFactors<S, Model>) {
        if (weights[i] == 0) return;
        factored = state.factored_credit(model, TraceAccess::restricted(trace, Traits::pullback()[i]));
        check(*factored, model, trace);
      }
    });
    return factored;
  }

  /// Lets the chosen sources learn, with grad mode on.
  void learn(Model& model, const Trace& trace, const std::array<bool, count>& which) {
    const torch::AutoGradMode grad(true);
    each([&]<class S>(std::size_t i, S& state) {
      if constexpr (Learns<S, Model>) {
        if (which[i]) state.learn(model, TraceAccess::restricted(trace, Traits::pullback()[i]));
      }
    });
  }

  void after_step(Model& model, const Trace& trace) {
    each([&]<class S>(std::size_t i, S& state) {
      if constexpr (SeesUpdates<S, Model>)
        state.after_step(model, TraceAccess::restricted(trace, Traits::pullback()[i]));
    });
  }

  /// The states at which the local step is to be run, where a source with a weight asks for other ones than the
  /// trace's.
  std::optional<std::vector<torch::Tensor>> local_inputs(Model& model, const Trace& trace, const Weights& weights) {
    std::optional<std::vector<torch::Tensor>> inputs;
    each([&]<class S>(std::size_t i, S& state) {
      if constexpr (HasLocalInputs<S, Model>) {
        if (weights[i] != 0) inputs = state.local_inputs(model, TraceAccess::restricted(trace, Traits::pullback()[i]));
      }
    });
    return inputs;
  }

  /// The sources' own tensors, "credit.…" or "credit.first.…" and "credit.second.…".
  NamedTensors named_tensors() const {
    NamedTensors named;
    std::size_t i = 0;
    std::apply([&](const auto&... states) { (append(named, Traits::prefix(i++), states), ...); },
               Traits::states(state_));
    return named;
  }

  /// The tensors of those states that a call of credit could change: none where all of its calls are const.
  std::vector<torch::Tensor> tensors_that_credit_may_change() const {
    std::vector<torch::Tensor> tensors;
    const auto collect = [&]<class S>(const S& state) {
      if constexpr (HasNamedTensors<S> && (!GivesCreditConst<S, Model> || HasLocalInputs<S, Model>)) {
        for (const auto& [name, tensor] : state.named_tensors()) tensors.push_back(tensor);
      }
    };
    std::apply([&](const auto&... states) { (collect(states), ...); }, Traits::states(state_));
    return tensors;
  }

 private:
  static std::array<torch::Generator, count> make_generators(std::int64_t seed) {
    std::array<torch::Generator, count> generators;
    for (std::size_t i = 0; i < count; ++i) {
      // Far apart for neighbouring seeds; the first source draws as it would alone.
      generators[i] =
          torch::make_generator<at::CPUGeneratorImpl>(static_cast<std::uint64_t>(seed) + i * 0x9E3779B97F4A7C15u);
    }
    return generators;
  }
  std::array<BindContext, count> contexts(torch::Device device, torch::Dtype dtype) const {
    if constexpr (count == 1) {
      return {BindContext{device, dtype, generators_[0]}};
    } else {
      return {BindContext{device, dtype, generators_[0]}, BindContext{device, dtype, generators_[1]}};
    }
  }

  static std::size_t active(const Weights& weights) {
    std::size_t number = 0;
    for (const double weight : weights) number += weight != 0;
    return number;
  }

  template <class Action>
  void each(const Action& action) {
    std::size_t i = 0;
    std::apply([&](auto&... states) { (action(i++, states), ...); }, Traits::states(state_));
  }

  template <class S>
  static void append(NamedTensors& named, const std::string& prefix, const S& state) {
    if constexpr (HasNamedTensors<S>) {
      for (auto& entry : prefixed(prefix, state.named_tensors())) named.push_back(std::move(entry));
    }
  }

  /// Adds weight times the unit-RMS credit.
  static void accumulate(std::vector<torch::Tensor>& mixed, const std::vector<torch::Tensor>& credits, double weight) {
    const bool first = mixed.empty();
    if (first) mixed.resize(credits.size());
    for (std::size_t l = 0; l < credits.size(); ++l) {
      if (!credits[l].defined()) continue;
      const auto part = RowRms{}(credits[l]).mul_(weight);
      mixed[l] = mixed[l].defined() ? mixed[l] + part : part;
    }
  }

  /// Throws Error unless there is one credit a hidden state, each of a shape, dtype and device that fit. a_0 may be
  /// undefined.
  static void check(const std::vector<torch::Tensor>& credits, const Trace& trace, std::size_t source) {
    const auto name = [&] {
      return count == 1 ? std::string("The credit source") : "Credit source " + std::to_string(source) + " of the Mix";
    };
    if (credits.size() != trace.hidden.size()) {
      fail(name(), " gave ", credits.size(), " credits, expected ", trace.hidden.size(), ": one for each of h_0..h_L.");
    }
    for (std::size_t l = 0; l < credits.size(); ++l) {
      const auto &a = credits[l], &output = l == 0 ? trace.hidden[0] : trace.branch[l - 1];
      if (l == 0 && !a.defined()) continue;
      bool fits = a.defined() && a.dim() == output.dim() && a.size(0) == output.size(0) &&
                  a.scalar_type() == output.scalar_type() && a.device() == output.device();
      for (std::int64_t d = 1; fits && d < a.dim(); ++d) fits = a.size(d) == output.size(d) || a.size(d) == 1;
      if (!fits) {
        fail(name(), " gave credit ", l, " as ", tensor_text(a), ", expected ", tensor_text(output), " like ",
             l == 0 ? "h_0" : "the output of block " + std::to_string(l - 1), ", or a shape that broadcasts to it.");
      }
    }
  }

  static void check(const std::vector<FactoredCredit>& credits, Model& model, const Trace& trace) {
    const auto states = static_cast<std::size_t>(model->blocks()) + 1;
    if (credits.size() != states) {
      fail("factored_credit gave ", credits.size(), " credits, expected ", states, ": one for each of h_0..h_L.");
    }
    const auto batch = trace.error.size(0);
    for (std::size_t l = 0; l < states; ++l) {
      const auto& [left, right, scale] = credits[l];
      if (l == 0 && !left.defined()) continue;
      const auto features = elements(model->hidden_shape(static_cast<std::int64_t>(l)));
      const auto fits = [&](const torch::Tensor& factor, std::int64_t rows) {
        return factor.defined() && factor.dim() == 2 && factor.size(0) == rows &&
               factor.options().type_equal(trace.error.options());
      };
      const bool scales = !scale.defined() || (fits(scale, batch) && scale.size(1) == 1);
      if (!fits(left, batch) || !fits(right, features) || !scales || left.size(1) != right.size(1)) {
        fail("factored_credit gave credit ", l, " as ", tensor_text(left), " times ", tensor_text(right),
             " transposed, scaled by ", scale.defined() ? tensor_text(scale) : "1", "; expected (", batch, ", r), (",
             features, ", r) and 1 or (", batch, ", 1), ", trace.error.scalar_type(), " on ", trace.error.device(),
             ".");
      }
    }
  }

  std::array<torch::Generator, count> generators_;
  State state_;
};

}  // namespace creditlib::detail
