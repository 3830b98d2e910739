#pragma once

#include <creditlib/closed_form/network.hpp>
#include <creditlib/concepts.hpp>
#include <optional>

/// The sentences that a compiler prints where a user's type falls short: one a
/// requirement, each with its cure.
namespace creditlib::detail {

template <class M>
consteval bool model_is_sound() {
  constexpr bool is_module = requires(M & model) {
    requires std::derived_from<std::remove_cvref_t<decltype(*model)>, torch::nn::Module>;
  };
  static_assert(is_module,
                "creditlib: the model needs to be a torch::nn module holder or "
                "a std::shared_ptr to a torch::nn::Module");
  if constexpr (!is_module) {
    return false;
  } else {
    constexpr bool has_embed = requires(M & model, const torch::Tensor& t) {
      { model->embed(t) } -> std::convertible_to<torch::Tensor>;
    };
    static_assert(has_embed,
                  "creditlib: the model needs `torch::Tensor embed(torch::Tensor x)`, "
                  "which gives h_0 (return x where there is no embed)");
    constexpr bool has_blocks = requires(M & model) {
      { model->blocks() } -> std::convertible_to<std::int64_t>;
    };
    static_assert(has_blocks, "creditlib: the model needs `std::int64_t blocks() const`: how many blocks there are");
    constexpr bool has_block = requires(M & model, const torch::Tensor& t, std::int64_t l) {
      { model->block(l, t) } -> std::convertible_to<torch::Tensor>;
    };
    static_assert(has_block,
                  "creditlib: the model needs `torch::Tensor block(std::int64_t l, "
                  "torch::Tensor h)`, which gives f_l, the branch of block l");
    constexpr bool has_join = requires(M & model, const torch::Tensor& t, std::int64_t l) {
      { model->join(l, t, t) } -> std::convertible_to<torch::Tensor>;
    };
    static_assert(has_join,
                  "creditlib: the model needs `torch::Tensor join(std::int64_t l, "
                  "torch::Tensor h, torch::Tensor f)`, which gives h_{l+1}: h + f or f");
    constexpr bool has_readout = requires(M & model, const torch::Tensor& t) {
      { model->readout(t) } -> std::convertible_to<torch::Tensor>;
    };
    static_assert(has_readout,
                  "creditlib: the model needs `torch::Tensor readout(torch::Tensor h)`, "
                  "which gives the logits (B, classes)");
    constexpr bool has_forward = requires(M & model, const torch::Tensor& t) {
      { model->forward(t) } -> std::convertible_to<torch::Tensor>;
    };
    static_assert(has_forward,
                  "creditlib: the model needs `torch::Tensor forward(torch::Tensor x)`, "
                  "which gives the logits of the whole network");
    constexpr bool has_classes = requires(M & model) {
      { model->classes() } -> std::convertible_to<std::int64_t>;
    };
    static_assert(has_classes, "creditlib: the model needs `std::int64_t classes() const`: the width of the logits");
    constexpr bool has_hidden_shape = requires(M & model, std::int64_t l) {
      { model->hidden_shape(l) } -> std::convertible_to<std::vector<std::int64_t>>;
    };
    static_assert(has_hidden_shape,
                  "creditlib: the model needs `std::vector<std::int64_t> "
                  "hidden_shape(std::int64_t l) const`: the sizes of h_l for "
                  "one sample, l = 0..blocks()");
    constexpr bool has_embed_parameters = requires(M & model) {
      { model->embed_parameters() } -> std::convertible_to<std::vector<torch::Tensor>>;
    };
    static_assert(has_embed_parameters,
                  "creditlib: the model needs `std::vector<torch::Tensor> "
                  "embed_parameters() const` (empty where there is no embed)");
    constexpr bool has_block_parameters = requires(M & model, std::int64_t l) {
      { model->block_parameters(l) } -> std::convertible_to<std::vector<torch::Tensor>>;
    };
    static_assert(has_block_parameters,
                  "creditlib: the model needs `std::vector<torch::Tensor> "
                  "block_parameters(std::int64_t l) const`");
    constexpr bool has_readout_parameters = requires(M & model) {
      { model->readout_parameters() } -> std::convertible_to<std::vector<torch::Tensor>>;
    };
    static_assert(has_readout_parameters,
                  "creditlib: the model needs `std::vector<torch::Tensor> "
                  "readout_parameters() const`");
    constexpr bool closed_form =
        ClosedFormModel<M> || !names_closed_form<std::remove_cvref_t<decltype(*std::declval<M&>())>>;
    static_assert(closed_form,
                  "creditlib: closed_form is there but not callable as "
                  "`std::optional<creditlib::closed_form::Network> closed_form()`");
    return has_embed && has_blocks && has_block && has_join && has_readout && has_forward && has_classes &&
           has_hidden_shape && has_embed_parameters && has_block_parameters && has_readout_parameters && closed_form;
  }
}

template <class C, class M>
consteval bool credit_is_sound() {
  constexpr bool copies = std::copyable<C>;
  static_assert(copies,
                "creditlib: a credit source's config must be copyable; "
                "run-time state belongs into what bind returns");
  constexpr bool bound = Binds<C, M> || !names_bind<C>;
  static_assert(bound,
                "creditlib: bind must be callable as `bind(model, const "
                "creditlib::BindContext&) const` and return the run state; "
                "is it const?");
  if constexpr (!bound) {
    return false;
  } else {
    using S = CreditState<C, M>;
    constexpr bool credits = GivesCredit<S, M>;
    static_assert(credits,
                  "creditlib: credit(model, const creditlib::Trace&) of the "
                  "run state must return std::vector<torch::Tensor>, "
                  "one credit for each of h_0..h_L");
    constexpr bool learn = Learns<S, M> || !names_learn<S>;
    static_assert(learn, "creditlib: learn is there but not callable as `learn(model, const creditlib::Trace&)`");
    constexpr bool after = SeesUpdates<S, M> || !names_after_step<S>;
    static_assert(after,
                  "creditlib: after_step is there but not callable as "
                  "`after_step(model, const creditlib::Trace&)`");
    constexpr bool local = HasLocalInputs<S, M> || !names_local_inputs<S>;
    static_assert(local,
                  "creditlib: local_inputs is there but not callable as "
                  "`local_inputs(model, const creditlib::Trace&)` that returns "
                  "std::vector<torch::Tensor>, h'_0..h'_L");
    constexpr bool factors = GivesFactors<S, M> || !names_factored_credit<S>;
    static_assert(factors,
                  "creditlib: factored_credit is there but not callable as "
                  "`factored_credit(model, const creditlib::Trace&)` that returns "
                  "std::vector<creditlib::FactoredCredit>, one for each of h_0..h_L");
    constexpr bool named = HasNamedTensors<S> || !names_named_tensors<S>;
    static_assert(named,
                  "creditlib: named_tensors is there but not callable "
                  "as `creditlib::NamedTensors named_tensors() const`");
    constexpr bool pullback =
        (DeclaresPullback<S> || !names_wants_pullback<S>)&&(DeclaresPullback<C> || !names_wants_pullback<C>);
    static_assert(pullback,
                  "creditlib: wants_pullback must be declared as `static constexpr bool wants_pullback = true;`");
    constexpr bool error_only = DeclaresErrorOnly<S> || !names_reads_error_only<S>;
    static_assert(error_only,
                  "creditlib: reads_error_only must be declared as `static constexpr bool reads_error_only = true;`");
    return std::copyable<C> && credits && learn && after && local && factors && named && pullback && error_only;
  }
}

template <class S, std::size_t Sources>
consteval bool schedule_is_sound() {
  static_assert(weight_count<S>() > 0,
                "creditlib: a schedule needs `std::array<double, N> weights(const creditlib::Progress&) const`, one "
                "weight a credit source");
  constexpr bool fits = weight_count<S>() == 0 || weight_count<S>() == Sources;
  static_assert(fits,
                "creditlib: the schedule weighs another number of credit "
                "sources than there are: one source goes with Always, a "
                "Mix of two with SwitchAt, Blend or Warmup");
  constexpr bool learns = SaysWhatLearns<S> || !names_learns<S>;
  static_assert(
      learns,
      "creditlib: learns is there but not callable as `std::array<bool, N> learns(const creditlib::Progress&) const`");
  return weight_count<S>() == Sources && learns;
}

template <class N>
consteval bool normalizer_is_sound() {
  constexpr bool normalizes = Normalizer<N>;
  static_assert(normalizes,
                "creditlib: a normalizer must be callable as `torch::Tensor "
                "operator()(torch::Tensor a) const`");
  constexpr bool factors = !names_factored<N> || requires(const N& normalizer, const FactoredCredit& a) {
    { normalizer.factored(a) } -> std::same_as<FactoredCredit>;
  };
  static_assert(factors,
                "creditlib: factored is there but not callable as `creditlib::FactoredCredit factored(const "
                "creditlib::FactoredCredit&) const`");
  return Normalizer<N> && factors;
}

template <class L>
consteval bool local_loss_is_sound() {
  constexpr bool is_loss = LocalLoss<L>;
  static_assert(is_loss,
                "creditlib: a local loss must be callable as `torch::Tensor "
                "operator()(torch::Tensor f, torch::Tensor a) const`, "
                "which gives the batch mean");
  constexpr bool closed = !names_output_gradient<L> || requires(const L& loss, torch::Tensor f) {
    { loss.output_gradient(f, f) } -> std::convertible_to<torch::Tensor>;
  };
  static_assert(closed,
                "creditlib: output_gradient is there but not callable "
                "as `torch::Tensor output_gradient(torch::Tensor f, "
                "torch::Tensor a) const`");
  constexpr bool embed = !names_embed_loss<L> || requires(const L& loss, torch::Tensor f) {
    { loss.embed_loss().output_gradient(f, f) } -> std::convertible_to<torch::Tensor>;
  };
  static_assert(embed,
                "creditlib: embed_loss is there but not callable as "
                "`creditlib::InnerProduct embed_loss() const`");
  constexpr bool multiple = !names_multiple_of_credit<L> || requires(const L& loss, const torch::Tensor& f) {
    { loss.multiple_of_credit(f) } -> std::same_as<std::optional<double>>;
  };
  static_assert(multiple,
                "creditlib: multiple_of_credit is there but not callable as "
                "`std::optional<double> multiple_of_credit(const torch::Tensor& f) const`");
  return LocalLoss<L> && closed && embed && multiple;
}

template <class O>
consteval bool objective_is_sound() {
  constexpr bool is_objective = Objective<O>;
  static_assert(is_objective,
                "creditlib: an objective needs `loss(logits, target)` -> (B), `error(logits, target)` -> (B, C) and "
                "`check(logits, target)`, all const");
  constexpr bool counts = !names_correct<O> || requires(const O& objective, torch::Tensor t) {
    { objective.correct(t, t) } -> std::convertible_to<torch::Tensor>;
  };
  static_assert(
      counts,
      "creditlib: correct is there but not callable as `torch::Tensor correct(logits, target) const`, a scalar");
  return Objective<O> && counts;
}

}  // namespace creditlib::detail
