// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <creditlib/trainer/checkpoint.hpp>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "../temporary_folder.hpp"
#include "../test.hpp"
#include "any_trainer.hpp"
#include "verdict.hpp"

/// The laws of credit rules. Each is a function that says whether it held, or what is wrong, so that one test asks it
/// of every rule and another sees it fail on a rule that breaks it. What it does not apply to is said by `every_law`.
namespace creditlib::test::law {

/// A model's and a trainer's whole state, by name.
using Snapshot = std::map<std::string, torch::Tensor>;

inline Snapshot snapshot(LawTrainer& trainer) {
  const TemporaryFolder folder;
  trainer.save(folder / "state");
  Snapshot state = detail::load_tensors(folder / "state");
  for (const auto& entry : trainer.module().named_parameters()) {
    if (entry.value().grad().defined()) state["grad." + entry.key()] = entry.value().grad().detach().clone();
    state["parameter." + entry.key()] = entry.value().detach().clone();
  }
  for (const auto& entry : trainer.module().named_buffers()) state["buffer." + entry.key()] = entry.value().clone();
  state["global generator"] = global_generator_state();
  return state;
}

/// "" or what differs.
inline std::string difference(const Snapshot& before, const Snapshot& after) {
  for (const auto& [name, tensor] : before) {
    const auto found = after.find(name);
    if (found == after.end()) return name + " is gone";
    if (!torch::equal(tensor, found->second)) return name + " differs";
  }
  for (const auto& [name, tensor] : after) {
    if (!before.count(name)) return name + " is new";
  }
  return "";
}

inline Verdict held_if_none(const std::string& wrong) { return wrong.empty() ? held() : failed(wrong); }

/// A snapshot with the trainer's own generators, from which a source may draw, as they are in another.
inline Snapshot without_own_generators(Snapshot snapshot, const Snapshot& other) {
  for (auto& [name, tensor] : snapshot) {
    if (name.rfind("trainer.generator.", 0) == 0) tensor = other.at(name);
  }
  return snapshot;
}

/// The same seed gives the same credits to the bit, whatever torch's global generator is at.
inline Verdict same_seed_same_credits(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind);
  const auto first = make({.kind = kind, .global_seed = 3}), again = make({.kind = kind, .global_seed = 4});

  torch::manual_seed(5);
  const auto a = first->credits(batch);
  torch::manual_seed(5);
  const auto b = again->credits(batch);

  return same(a, b) ? held() : failed("two trainers of one seed have different credits");
}

/// A rule with random numbers gets others from another seed.
inline Verdict other_seed_other_credits(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind);
  const auto first = make({.kind = kind}), other = make({.kind = kind, .options = {.seed = 8}});

  torch::manual_seed(5);
  const auto a = first->credits(batch);
  torch::manual_seed(5);
  const auto b = other->credits(batch);

  // One that comes from the true gradient, as FA's last and a Mix with the oracle have it, may be the same: not all.
  for (std::size_t l = 0; l < a.size(); ++l) {
    if (a[l].defined() && !torch::equal(a[l], b[l])) return held();
  }
  return failed("another seed changes no credit");
}

/// Making a trainer takes nothing from torch's global generator, and does not seed it.
inline Verdict binding_leaves_global_generator(const Factory& make, Kind kind) {
  make({.kind = kind, .global_seed = 6});
  const auto made = global_generator_state();
  torch::manual_seed(6);

  return torch::equal(made, global_generator_state()) ? held() : failed("bind uses torch's global generator");
}

/// One credit a hidden state, detached, of the dtype and device of the model, with the shape of the block's output or
/// one that broadcasts to it; none for h_0 where the model has no embed.
inline Verdict credits_fit(const Factory& make, Kind kind) {
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    const auto batch = batch_for(kind, dtype);
    const auto trainer = make({.kind = kind, .dtype = dtype});
    const auto outputs = trainer->separate_outputs(batch.x);

    for (const auto& credits : {trainer->credits(batch), trainer->raw_credits(batch)}) {
      if (credits.size() + 1 != outputs.size()) return failed("not one credit a hidden state");
      for (std::size_t l = 0; l < credits.size(); ++l) {
        const auto& a = credits[l];
        if (l == 0 && kind == Kind::no_embed) {
          if (a.defined()) return failed("credit for an embed that is not there");
          continue;
        }
        if (!a.defined()) return failed("undefined credit " + std::to_string(l));
        if (a.requires_grad() || a.grad_fn()) return failed("attached credit " + std::to_string(l));
        if (a.scalar_type() != dtype || a.device() != outputs[l].device()) return failed("another dtype or device");
        if (a.dim() != outputs[l].dim() || a.size(0) != batch.x.size(0))
          return failed("another number of dimensions or samples");
        for (std::int64_t d = 1; d < a.dim(); ++d) {
          if (a.size(d) != outputs[l].size(d) && a.size(d) != 1) return failed("a shape that does not broadcast");
        }
      }
    }
  }
  return held();
}

/// Asking for credits or gradients changes nothing: no parameter, gradient, running statistic, generator or state, nor
/// the next step, on another batch of the same size.
inline Verdict previews_change_nothing(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind), other = batch_for(kind, torch::kFloat32, 5, 12);
  const auto next = batch_for(kind, torch::kFloat32, 7, 13);
  const auto trainer = make({.kind = kind}), without = make({.kind = kind});
  torch::manual_seed(5);
  trainer->step(other);
  torch::manual_seed(5);
  without->step(other);

  const std::vector<std::function<std::vector<torch::Tensor>()>> previews{[&] { return trainer->credits(batch); },
                                                                          [&] { return trainer->raw_credits(batch); },
                                                                          [&] { return trainer->gradients(batch); }};
  for (const auto& preview : previews) {
    const auto before = snapshot(*trainer);
    const auto once = preview();
    if (const auto changed = difference(before, snapshot(*trainer)); !changed.empty()) return failed(changed);
    if (!same(once, preview())) return failed("a second call gives another answer");
  }

  torch::manual_seed(6);
  trainer->step(next);
  const auto after_previews = snapshot(*trainer);
  torch::manual_seed(6);
  without->step(next);
  return held_if_none(difference(snapshot(*without), after_previews));
}

/// A step's gradients are those that gradients() shows, and those of one backward a block from the credits that
/// credits() shows, at the states at which the rule has the local step run.
inline Verdict credits_are_what_step_uses(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind, torch::kFloat64);
  const auto trainer = make({.kind = kind, .dtype = torch::kFloat64});
  const auto generator = [] { torch::manual_seed(5); };
  generator();
  trainer->step(batch_for(kind, torch::kFloat64, 5, 12));
  generator();
  const auto credits = trainer->credits(batch);
  const auto shown = trainer->gradients(batch);

  // The local step, from the credits alone: each output against its credit, one backward at a time.
  std::map<const void*, torch::Tensor> expected;
  const auto buffers = trainer->module().buffers();
  const auto before = copies(buffers);
  auto outputs = trainer->local_outputs(batch);
  const auto parameters = trainer->module().parameters();
  const auto size = static_cast<double>(batch.x.size(0));
  for (std::size_t l = 0; l < outputs.size(); ++l) {
    if (!outputs[l].requires_grad()) continue;
    const bool readout = l + 1 == outputs.size();
    const auto loss =
        readout ? torch::nn::functional::cross_entropy(outputs[l], batch.y) : (outputs[l] * credits[l]).sum() / size;
    const auto gradients = torch::autograd::grad({loss}, parameters, {}, false, false, /*allow_unused=*/true);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (gradients[i].defined()) expected[parameters[i].unsafeGetTensorImpl()] = gradients[i];
    }
  }
  for (std::size_t i = 0; i < buffers.size(); ++i) torch::Tensor(buffers[i]).set_data(before[i]);

  generator();
  trainer->step(batch);

  const auto used = gradients_of(trainer->module());
  if (!same(used, shown)) return failed("gradients() shows others than the step has");
  std::vector<torch::Tensor> from_credits;
  for (const auto& parameter : parameters) from_credits.push_back(expected[parameter.unsafeGetTensorImpl()]);
  const double apart = distance(used, from_credits);
  return apart < 1e-12 ? held() : failed("the gradients are " + std::to_string(apart) + " from those of the credits");
}

/// A step is one forward pass: running statistics and torch's generator go on as they do in one call of the model.
inline Verdict step_runs_one_forward(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind);
  const auto trainer = make({.kind = kind}), plain = make({.kind = kind});

  torch::manual_seed(5);
  plain->separate_outputs(batch.x);
  const auto buffers = copies(plain->module().buffers());
  const auto generator = global_generator_state();
  torch::manual_seed(5);
  trainer->step(batch);

  if (!same(copies(trainer->module().buffers()), buffers))
    return failed("running statistics are not those of one forward pass");
  return torch::equal(global_generator_state(), generator)
             ? held()
             : failed("torch's generator is not where one forward pass leaves it");
}

/// A source that is bound to a float64 model gets the random numbers of one that is bound to a float32 model.
inline Verdict same_state_in_float64(const Factory& make, Kind kind) {
  const auto single = snapshot(*make({.kind = kind})),
             twice = snapshot(*make({.kind = kind, .dtype = torch::kFloat64}));

  for (const auto& [name, tensor] : single) {
    if (name.rfind("credit.", 0) != 0) continue;
    if (!torch::equal(tensor, twice.at(name).to(tensor.scalar_type()))) return failed(name + " is another in float64");
  }
  return held();
}

/// So does one that draws when it is asked for credit: other numbers would be another credit altogether.
inline Verdict same_draws_in_float64(const Factory& make, Kind kind) {
  const auto a = make({.kind = kind})->raw_credits(batch_for(kind));
  const auto b = make({.kind = kind, .dtype = torch::kFloat64})->raw_credits(batch_for(kind, torch::kFloat64));
  return distance(a, b) < 1e-2 ? held() : failed("credits in float64 are others");
}

/// Credit is per sample: that of a sample is the same in a smaller batch.
inline Verdict credit_is_per_sample(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind, torch::kFloat64);
  const auto trainer = make({.kind = kind, .dtype = torch::kFloat64});

  const auto whole = trainer->raw_credits(batch);
  const auto part = trainer->raw_credits({batch.x.narrow(0, 2, 3), batch.y.narrow(0, 2, 3)});

  for (std::size_t l = 0; l < whole.size(); ++l) {
    if (!whole[l].defined()) continue;
    if (distance(whole[l].narrow(0, 2, 3), part[l]) > 1e-9)  // EP's is the difference of larger numbers
      return failed("credit " + std::to_string(l) + " depends on the rest of the batch");
  }
  return held();
}

/// Credit is the same numbers whether grad mode is on or off.
inline Verdict grad_mode_changes_no_credit(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind, torch::kFloat64);
  const auto credit = [&](bool grad_mode) {
    const auto trainer = make({.kind = kind, .dtype = torch::kFloat64});
    torch::manual_seed(5);
    const auto alone = trainer->alone(batch);
    const torch::AutoGradMode mode(grad_mode);
    return copies(alone.credit());
  };

  return distance(credit(true), credit(false)) < 1e-12 ? held() : failed("with grad mode on credit is another");
}

/// Credit leaves model and source as they were, without the trainer's care too.
inline Verdict credit_alone_changes_nothing(const Factory& make, Kind kind) {
  const auto trainer = make({.kind = kind});
  trainer->step(batch_for(kind));
  const auto alone = trainer->alone(batch_for(kind));
  const auto before = snapshot(*trainer);

  {
    const torch::NoGradGuard no_grad;
    alone.credit();
  }

  return held_if_none(difference(before, without_own_generators(snapshot(*trainer), before)));
}

/// The source's own learning changes the source, and leaves the model, its gradients, running statistics and torch's
/// generator as they were, without the trainer's care too.
inline Verdict learning_leaves_the_model(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind);
  const auto trainer = make({.kind = kind});
  trainer->step(batch);
  const auto before = snapshot(*trainer);
  const auto of_the_source = [](const std::string& name) { return name.rfind("credit.", 0) == 0; };

  for (const auto& learn : {trainer->alone(batch).learn, std::function<void()>([&] { trainer->learn(batch); })}) {
    const auto start = snapshot(*trainer);
    learn();
    auto after = without_own_generators(snapshot(*trainer), before);
    bool learned = false;
    for (auto& [name, tensor] : after) {
      if (!of_the_source(name)) continue;
      learned = learned || !torch::equal(tensor, start.at(name));
      tensor = before.at(name);
    }
    if (const auto changed = difference(before, after); !changed.empty()) return failed(changed);
    if (!learned) return failed("learning changes nothing of the source");
  }
  return held();
}

/// A run that is saved and goes on in another trainer, made of other weights and another seed, is the run that was not
/// interrupted, to the bit.
inline Verdict resumed_run_is_the_same(const Factory& make, Kind kind, Optimizer optimizer = Optimizer::AdamW) {
  const TemporaryFolder folder;
  TrainerOptions options{.lr = 1e-2, .clip_norm = 1.0, .epochs = 4, .seed = 7, .optimizer = optimizer};
  const auto train = [&](LawTrainer& trainer, std::uint64_t seed) {
    torch::manual_seed(seed);
    for (std::uint64_t i = 0; i < 3; ++i) {
      trainer.step(batch_for(kind, torch::kFloat32, 7, seed + i));
      trainer.learn(batch_for(kind, torch::kFloat32, 7, seed + i));
    }
    trainer.end_epoch();
    trainer.step(batch_for(kind, torch::kFloat32, 7, seed));
  };
  const auto first = make({.kind = kind, .options = options});
  train(*first, 20);
  first->save(folder / "checkpoint");
  train(*first, 30);

  options.seed = 99;
  const auto resumed = make({.kind = kind, .options = options, .weights_seed = 3});
  train(*resumed, 40);
  resumed->step(batch_for(kind));
  if (difference(snapshot(*first), snapshot(*resumed)).empty()) return failed("two runs of one kind: nothing to see");
  resumed->load(folder / "checkpoint");
  train(*resumed, 30);

  return held_if_none(difference(snapshot(*first), snapshot(*resumed)));
}

/// By formula and by autograd a step has the same gradients and the same update, to rounding.
inline Verdict paths_agree(const Factory& make, Kind kind, torch::Dtype dtype, double tolerance) {
  const auto batch = batch_for(kind, dtype), other = batch_for(kind, dtype, 5, 12);
  const auto fastest = make({.kind = kind, .dtype = dtype});
  const auto generic = make({.kind = kind, .dtype = dtype, .options = {.seed = 7, .path = Path::Generic}});
  REQUIRE(fastest->path() == Path::ClosedForm);
  REQUIRE(generic->path() == Path::Generic);
  const auto between = [&](auto&& action) {
    torch::manual_seed(5);
    const auto a = action(*fastest);
    torch::manual_seed(5);
    return distance(a, action(*generic));
  };

  if (between([&](LawTrainer& t) { return t.gradients(batch); }) > tolerance) return failed("gradients() differ");
  if (between([&](LawTrainer& t) {
        t.step(batch);
        return gradients_of(t.module());
      }) > tolerance) {
    return failed("a step's gradients differ");
  }
  // Adam's first steps go by the sign of a gradient, so rounding moves a parameter whose gradient is almost 0.
  if (between([&](LawTrainer& t) {
        t.step(other);
        return gradients_of(t.module());
      }) > 1e4 * tolerance) {
    return failed("the second step's gradients differ");
  }
  return held();
}

/// The normalized credits are the raw ones, each sample's divided by its root mean square.
inline Verdict normalized_by_sample(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind, torch::kFloat64);
  const auto trainer = make({.kind = kind, .dtype = torch::kFloat64});

  const auto raw = trainer->raw_credits(batch), normalized = trainer->credits(batch);

  for (std::size_t l = 0; l < raw.size(); ++l) {
    if (!raw[l].defined()) continue;
    for (std::int64_t b = 0; b < raw[l].size(0); ++b) {
      const auto a = raw[l][b];
      const double rms = a.norm().item<double>() / std::sqrt(static_cast<double>(a.numel()));
      if (distance(normalized[l][b] * (rms + 1e-6), a) > 1e-12) {
        return failed("credit " + std::to_string(l) + " of sample " + std::to_string(b) + " has another size");
      }
    }
  }
  return held();
}

}  // namespace creditlib::test::law

namespace creditlib::test {

/// What a law needs to know of a rule to say whether it applies.
struct About {
  bool draws = true, learns = false, magnifies_rounding = false;
  std::function<std::string(Kind)> refusal = [](Kind) { return std::string(); };
};

/// A law, and what it does not apply to.
struct Law {
  std::string name;
  Verdict (*ask)(const Factory&, Kind);
  /// Why the law does not apply to a rule on a model that it trains; "" if it does.
  std::string (*exempt)(const About&, Kind) = [](const About&, Kind) { return std::string(); };

  /// Why the law does not apply; "" if it does.
  std::string exemption(const About& rule, Kind kind) const {
    return rule.refusal(kind).empty() ? exempt(rule, kind) : "the rule refuses the model";
  }
  Verdict of(const Factory& make, const About& rule, Kind kind) const {
    const auto reason = exemption(rule, kind);
    return reason.empty() ? ask(make, kind) : not_applicable(reason);
  }
};

namespace law {

inline const Law same_seed{"one seed, one credit", same_seed_same_credits};
inline const Law other_seed{
    "another seed, another credit", other_seed_other_credits,
    [](const About& rule, Kind) -> std::string { return rule.draws ? "" : "the rule draws nothing"; }};
inline const Law global_generator{"bind leaves torch's generator", binding_leaves_global_generator};
inline const Law fit{"credit fits the output", credits_fit};
inline const Law previews{"previews change nothing", previews_change_nothing};
inline const Law used{"credits() is what a step uses", credits_are_what_step_uses};
inline const Law one_forward{"a step is one forward pass", step_runs_one_forward};
inline std::string without_formula(const About&, Kind kind) {
  return has_closed_form(kind) ? "" : "the model has no closed form";
}
inline const Law two_paths{
    "formula and autograd agree in float64",
    [](const Factory& make, Kind kind) { return paths_agree(make, kind, torch::kFloat64, 1e-11); }, without_formula};
inline const Law two_paths_in_float32{
    "formula and autograd agree in float32",
    [](const Factory& make, Kind kind) { return paths_agree(make, kind, torch::kFloat32, 1e-5); },
    [](const About& rule, Kind kind) {
      return rule.magnifies_rounding ? "float32 leaves few digits of the rule's credit" : without_formula(rule, kind);
    }};
inline const Law state_in_float64{"one state in float32 and float64", same_state_in_float64};
inline const Law draws_in_float64{"one credit in float32 and float64", same_draws_in_float64,
                                  [](const About&, Kind kind) -> std::string {
                                    return kind == Kind::dropout ? "Dropout's masks are others in float64" : "";
                                  }};
inline const Law per_sample{"credit is per sample", credit_is_per_sample, [](const About&, Kind kind) -> std::string {
                              if (kind == Kind::dropout) return "Dropout's masks are others in a smaller batch";
                              return mixes_samples(kind) ? "the model mixes samples" : "";
                            }};
inline const Law grad_mode{"grad mode changes no credit", grad_mode_changes_no_credit};
inline const Law alone{"credit alone changes nothing", credit_alone_changes_nothing};
inline const Law learning{
    "learning leaves the model", learning_leaves_the_model,
    [](const About& rule, Kind) -> std::string { return rule.learns ? "" : "the rule does not learn"; }};
inline const Law resumed{"a resumed run is the same",
                         [](const Factory& make, Kind kind) { return resumed_run_is_the_same(make, kind); }};
inline const Law resumed_with_sgd{"a resumed run with SGD is the same", [](const Factory& make, Kind kind) {
                                    return resumed_run_is_the_same(make, kind, Optimizer::SGD);
                                  }};
inline const Law normalized{"credits are normalized by sample", normalized_by_sample};

}  // namespace law

inline const std::vector<Law> every_law{law::same_seed,
                                        law::other_seed,
                                        law::global_generator,
                                        law::fit,
                                        law::previews,
                                        law::used,
                                        law::one_forward,
                                        law::two_paths,
                                        law::two_paths_in_float32,
                                        law::state_in_float64,
                                        law::draws_in_float64,
                                        law::per_sample,
                                        law::grad_mode,
                                        law::alone,
                                        law::learning,
                                        law::resumed,
                                        law::resumed_with_sgd,
                                        law::normalized};

}  // namespace creditlib::test
