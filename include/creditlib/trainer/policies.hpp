// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <creditlib/concepts.hpp>
#include <creditlib/trainer/requirements.hpp>
#include <creditlib/trainer/update.hpp>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

/// Policies in any order, told apart by what they can do.
namespace creditlib::detail {

enum class PolicyKind { Schedule, Normalizer, LocalLoss, Objective, Optimizer, Rate, Clip, None };

/// The kind of a policy, by its concept; or the one that it means to be, by the names of its members.
template <class P>
consteval PolicyKind kind_of() {
  if constexpr (TorchOptimizer<P> || BindsOptimizer<P>) {
    return PolicyKind::Optimizer;
  } else if constexpr (GivesWeights<P> || names_weights<P>) {
    return PolicyKind::Schedule;
  } else if constexpr ((GivesLoss<P> && GivesError<P>) || names_error<P>) {
    return PolicyKind::Objective;
  } else if constexpr (BindsRate<P>) {
    return PolicyKind::Rate;
  } else if constexpr (Normalizes<P>) {
    return PolicyKind::Normalizer;
  } else if constexpr (GivesLocalLoss<P>) {
    return PolicyKind::LocalLoss;
  } else if constexpr (ClipsGradients<P>) {
    return PolicyKind::Clip;
  } else if constexpr (GivesFactor<P>) {
    return PolicyKind::Rate;
  } else if constexpr (names_output_gradient<P> || names_multiple_of_credit<P> || names_embed_loss<P>) {
    return PolicyKind::LocalLoss;
  } else if constexpr (names_factored<P>) {
    return PolicyKind::Normalizer;
  } else {
    return PolicyKind::None;
  }
}

template <PolicyKind kind, class... Ps>
constexpr std::size_t count_of = (std::size_t{0} + ... + (kind_of<std::remove_cvref_t<Ps>>() == kind ? 1 : 0));

/// The type of the policy of this kind among Ps, Default if there is none.
template <PolicyKind kind, class Default, class... Ps>
struct PolicyOf {
  using type = Default;
};
template <PolicyKind kind, class Default, class P, class... Ps>
struct PolicyOf<kind, Default, P, Ps...>
    : std::conditional_t<kind_of<std::remove_cvref_t<P>>() == kind, std::type_identity<std::remove_cvref_t<P>>,
                         PolicyOf<kind, Default, Ps...>> {};

/// Whether a policy may stand in the place of this kind, as the earlier fixed order has it: it is of that kind, or of
/// none that another place could take.
template <class P, PolicyKind kind>
constexpr bool fits_place = kind_of<P>() == kind || kind_of<P>() == PolicyKind::None;

/// The rate in use of a policy: what its bind() gives, or itself.
template <class R>
struct RateInUse : std::type_identity<R> {};
template <BindsRate R>
struct RateInUse<R> : std::type_identity<decltype(std::declval<const R&>().bind())> {};

/// That an update's policies are what their concepts ask for, and that optional members have their signature: one that
/// has another is not passed over.
template <class P>
consteval bool update_policy_is_sound() {
  constexpr PolicyKind kind = kind_of<P>();
  if constexpr (kind == PolicyKind::Optimizer && !TorchOptimizer<P>) {
    static_assert(holds(OptimizerPolicy<P>),
                  "creditlib: what an optimizer's bind returns needs `void step()`, `void set_rate(double factor)` and "
                  "`creditlib::NamedTensors named_tensors() const`");
    return OptimizerPolicy<P>;
  } else if constexpr (kind == PolicyKind::Rate || kind == PolicyKind::Clip) {
    constexpr bool checks = ChecksItself<P> || !names_check<P>;
    static_assert(holds(checks), "creditlib: check is there but not callable as `void check() const`");
    constexpr bool reports = kind == PolicyKind::Clip || TakesReports<typename RateInUse<P>::type> ||
                             !names_report<typename RateInUse<P>::type>;
    static_assert(holds(reports), "creditlib: report is there but not callable as `void report(double value)`");
    return checks && reports;
  } else {
    return true;
  }
}

template <class... Ps>
consteval bool policies_are_sound() {
  static_assert(holds(count_of<PolicyKind::Schedule, Ps...> <= 1), "creditlib: there are two schedules; give one");
  static_assert(holds(count_of<PolicyKind::Normalizer, Ps...> <= 1), "creditlib: there are two normalizers; give one");
  static_assert(holds(count_of<PolicyKind::LocalLoss, Ps...> <= 1), "creditlib: there are two local losses; give one");
  static_assert(holds(count_of<PolicyKind::Objective, Ps...> <= 1), "creditlib: there are two objectives; give one");
  static_assert(holds(count_of<PolicyKind::Optimizer, Ps...> <= 1), "creditlib: there are two optimizers; give one");
  static_assert(holds(count_of<PolicyKind::Rate, Ps...> <= 1), "creditlib: there are two rates; give one");
  static_assert(holds(count_of<PolicyKind::Clip, Ps...> <= 1), "creditlib: there are two clips; give one");
  return all_of({fits_a_kind<kind_of<std::remove_cvref_t<Ps>>() != PolicyKind::None>()...,
                 update_policy_is_sound<std::remove_cvref_t<Ps>>()...});
}

/// The policy of this kind among `policies`, moved or copied, or a new T.
template <PolicyKind kind, class T, class... Ps>
T picked(Ps&&... policies) {
  if constexpr (count_of<kind, Ps...> == 0) {
    static_assert(
        std::is_default_constructible_v<T>,
        "creditlib: the trainer's type has a policy that cannot be made without arguments, so it must be given");
    return T{};
  } else {
    using Given = typename PolicyOf<kind, T, Ps...>::type;
    constexpr bool same = std::is_same_v<Given, T>;
    static_assert(same, "creditlib: this policy is of another type than the trainer's template argument of its kind");
    std::tuple<Ps&&...> all(std::forward<Ps>(policies)...);
    constexpr std::size_t place = [] {
      constexpr std::array<PolicyKind, sizeof...(Ps)> kinds{kind_of<std::remove_cvref_t<Ps>>()...};
      std::size_t i = 0;
      while (kinds[i] != kind) ++i;
      return i;
    }();
    return std::get<place>(std::move(all));
  }
}

/// The policies among `policies` that a trainer's type does not depend on.
template <class... Ps>
UpdatePolicies update_policies(Ps&&... policies) {
  UpdatePolicies found;
  [[maybe_unused]] const auto take = [&]<PolicyKind kind, class P>(std::integral_constant<PolicyKind, kind>,
                                                                   P&& policy) {
    using Policy = std::remove_cvref_t<P>;
    if constexpr (kind_of<Policy>() == kind) {
      if constexpr (kind == PolicyKind::Rate) set_rate(found, Policy(std::forward<P>(policy)));
      if constexpr (kind == PolicyKind::Clip) set_clip(found, Policy(std::forward<P>(policy)));
      if constexpr (kind == PolicyKind::Optimizer) {
        static_assert(std::is_constructible_v<Policy, P&&>,
                      "creditlib: LibTorch's optimizers are not copied: std::move it into the trainer, or give it as a "
                      "std::shared_ptr");
        set_optimizer(found, Policy(std::forward<P>(policy)));
      }
    }
  };
  // The rate first: one of LibTorch's optimizers keeps its own rates if there is none.
  (take(std::integral_constant<PolicyKind, PolicyKind::Rate>{}, std::forward<Ps>(policies)), ...);
  (take(std::integral_constant<PolicyKind, PolicyKind::Clip>{}, std::forward<Ps>(policies)), ...);
  (take(std::integral_constant<PolicyKind, PolicyKind::Optimizer>{}, std::forward<Ps>(policies)), ...);
  return found;
}

}  // namespace creditlib::detail
