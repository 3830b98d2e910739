#pragma once

#include <algorithm>
#include <creditlib/trainer/checkpoint.hpp>
#include <map>
#include <string>
#include <vector>

#include "../temporary_folder.hpp"
#include "../test.hpp"
#include "any_trainer.hpp"

/// The laws of credit rules. Each is a function that says what is wrong, or nothing ("") where the law holds, so that
/// one test asks it of every rule and another sees it fail on a rule that breaks it.
namespace creditlib::test::law {

/// A model's and a trainer's whole state, by name.
using Snapshot = std::map<std::string, torch::Tensor>;

inline Snapshot snapshot(AnyTrainer& trainer) {
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

/// The same seed gives the same credits to the bit, whatever torch's global generator is at.
inline std::string same_seed_same_credits(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind);
  const auto first = make({.kind = kind, .global_seed = 3}), again = make({.kind = kind, .global_seed = 4});

  torch::manual_seed(5);
  const auto a = first->credits(batch);
  torch::manual_seed(5);
  const auto b = again->credits(batch);

  return same(a, b) ? "" : "two trainers of one seed have different credits";
}

/// A rule with random numbers gets others from another seed.
inline std::string other_seed_other_credits(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind);
  const auto first = make({.kind = kind}), other = make({.kind = kind, .options = {.seed = 8}});

  torch::manual_seed(5);
  const auto a = first->credits(batch);
  torch::manual_seed(5);
  const auto b = other->credits(batch);

  // One that comes from the true gradient, as FA's last and a Mix with the oracle have it, may be the same: not all.
  for (std::size_t l = 0; l < a.size(); ++l) {
    if (a[l].defined() && !torch::equal(a[l], b[l])) return "";
  }
  return "another seed changes no credit";
}

/// Making a trainer takes nothing from torch's global generator, and does not seed it.
inline std::string binding_leaves_global_generator(const Factory& make, Kind kind) {
  make({.kind = kind, .global_seed = 6});
  const auto made = global_generator_state();
  torch::manual_seed(6);

  return torch::equal(made, global_generator_state()) ? "" : "bind uses torch's global generator";
}

/// One credit a hidden state, detached, of the dtype and device of the model, with the shape of the block's output or
/// one that broadcasts to it; none for h_0 where the model has no embed.
inline std::string credits_fit(const Factory& make, Kind kind) {
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    const auto batch = batch_for(kind, dtype);
    const auto trainer = make({.kind = kind, .dtype = dtype});
    const auto outputs = trainer->separate_outputs(batch.x);

    for (const auto& credits : {trainer->credits(batch), trainer->raw_credits(batch)}) {
      if (credits.size() + 1 != outputs.size()) return "not one credit a hidden state";
      for (std::size_t l = 0; l < credits.size(); ++l) {
        const auto& a = credits[l];
        if (l == 0 && kind == Kind::no_embed) {
          if (a.defined()) return "credit for an embed that is not there";
          continue;
        }
        if (!a.defined()) return "undefined credit " + std::to_string(l);
        if (a.requires_grad() || a.grad_fn()) return "attached credit " + std::to_string(l);
        if (a.scalar_type() != dtype || a.device() != outputs[l].device()) return "another dtype or device";
        if (a.dim() != outputs[l].dim() || a.size(0) != batch.x.size(0))
          return "another number of dimensions or samples";
        for (std::int64_t d = 1; d < a.dim(); ++d) {
          if (a.size(d) != outputs[l].size(d) && a.size(d) != 1) return "a shape that does not broadcast";
        }
      }
    }
  }
  return "";
}

/// Asking for credits or gradients changes nothing: no parameter, gradient, running statistic, generator or state, nor
/// the next step.
inline std::string previews_change_nothing(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind), other = batch_for(kind, torch::kFloat32, 5, 12);
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
    if (const auto changed = difference(before, snapshot(*trainer)); !changed.empty()) return changed;
    if (!same(once, preview())) return "a second call gives another answer";
  }

  torch::manual_seed(6);
  trainer->step(batch);
  const auto after_previews = snapshot(*trainer);
  torch::manual_seed(6);
  without->step(batch);
  return difference(snapshot(*without), after_previews);
}

/// A step's gradients are those that gradients() shows, and those of one backward a block from the credits that
/// credits() shows, at the states at which the rule has the local step run.
inline std::string credits_are_what_step_uses(const Factory& make, Kind kind) {
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
  if (!same(used, shown)) return "gradients() shows others than the step has";
  std::vector<torch::Tensor> from_credits;
  for (const auto& parameter : parameters) from_credits.push_back(expected[parameter.unsafeGetTensorImpl()]);
  const double apart = distance(used, from_credits);
  return apart < 1e-12 ? "" : "the gradients are " + std::to_string(apart) + " from those of the credits";
}

/// A step is one forward pass: running statistics and torch's generator go on as they do in one call of the model.
inline std::string step_runs_one_forward(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind);
  const auto trainer = make({.kind = kind}), plain = make({.kind = kind});

  torch::manual_seed(5);
  plain->separate_outputs(batch.x);
  const auto buffers = copies(plain->module().buffers());
  const auto generator = global_generator_state();
  torch::manual_seed(5);
  trainer->step(batch);

  if (!same(copies(trainer->module().buffers()), buffers))
    return "running statistics are not those of one forward pass";
  return torch::equal(global_generator_state(), generator)
             ? ""
             : "torch's generator is not where one forward pass leaves it";
}

/// A float64 model gets the same random numbers as a float32 one.
inline std::string same_feedback_in_float64(const Factory& make, Kind kind) {
  const auto single = snapshot(*make({.kind = kind})),
             twice = snapshot(*make({.kind = kind, .dtype = torch::kFloat64}));

  for (const auto& [name, tensor] : single) {
    if (name.rfind("credit.", 0) != 0 || !tensor.is_floating_point()) continue;
    if (!torch::equal(tensor, twice.at(name).to(torch::kFloat32))) return name + " is another in float64";
  }
  // Drawn at a call: the same numbers again, where other ones would be another credit altogether. Dropout's masks are
  // another matter.
  if (kind == Kind::dropout) return "";
  const auto a = make({.kind = kind})->raw_credits(batch_for(kind));
  const auto b = make({.kind = kind, .dtype = torch::kFloat64})->raw_credits(batch_for(kind, torch::kFloat64));
  return distance(a, b) < 1e-2 ? "" : "credits in float64 are others";
}

/// Credit is per sample: that of a sample is the same in a smaller batch (where the network itself does not mix
/// samples).
inline std::string credit_is_per_sample(const Factory& make, Kind kind) {
  if (mixes_samples(kind) || kind == Kind::dropout) return "";
  const auto batch = batch_for(kind, torch::kFloat64);
  const auto trainer = make({.kind = kind, .dtype = torch::kFloat64});

  const auto whole = trainer->raw_credits(batch);
  const auto part = trainer->raw_credits({batch.x.narrow(0, 2, 3), batch.y.narrow(0, 2, 3)});

  for (std::size_t l = 0; l < whole.size(); ++l) {
    if (!whole[l].defined()) continue;
    if (distance(whole[l].narrow(0, 2, 3), part[l]) > 1e-9)  // EP's is the difference of larger numbers
      return "credit " + std::to_string(l) + " depends on the rest of the batch";
  }
  return "";
}

/// The source's own learning leaves the model, its gradients and running statistics as they were.
inline std::string learning_leaves_the_model(const Factory& make, Kind kind) {
  const auto batch = batch_for(kind);
  const auto trainer = make({.kind = kind});
  trainer->step(batch);
  const auto before = snapshot(*trainer);

  trainer->learn(batch);

  auto after = snapshot(*trainer);
  for (auto& [name, tensor] : after) {
    if (name.rfind("credit.", 0) == 0 || name.rfind("trainer.generator.", 0) == 0) tensor = before.at(name);
  }
  return difference(before, after);
}

/// A run that is saved and goes on in another trainer, made of other weights and another seed, is the run that was not
/// interrupted, to the bit.
inline std::string resumed_run_is_the_same(const Factory& make, Kind kind, Optimizer optimizer = Optimizer::AdamW) {
  const TemporaryFolder folder;
  TrainerOptions options{.lr = 1e-2, .clip_norm = 1.0, .epochs = 4, .seed = 7, .optimizer = optimizer};
  const auto train = [&](AnyTrainer& trainer, std::uint64_t seed) {
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
  resumed->load(folder / "checkpoint");
  train(*resumed, 30);

  return difference(snapshot(*first), snapshot(*resumed));
}

/// By formula and by autograd a step has the same gradients and the same update, to rounding.
inline std::string paths_agree(const Factory& make, Kind kind, torch::Dtype dtype, double tolerance) {
  const auto batch = batch_for(kind, dtype), other = batch_for(kind, dtype, 5, 12);
  const auto fastest = make({.kind = kind, .dtype = dtype});
  const auto generic = make({.kind = kind, .dtype = dtype, .options = {.seed = 7, .path = Path::Generic}});
  const auto between = [&](auto&& action) {
    torch::manual_seed(5);
    const auto a = action(*fastest);
    torch::manual_seed(5);
    return distance(a, action(*generic));
  };

  if (between([&](AnyTrainer& t) { return t.gradients(batch); }) > tolerance) return "gradients() differ";
  if (between([&](AnyTrainer& t) { return t.step(batch), gradients_of(t.module()); }) > tolerance) {
    return "a step's gradients differ";
  }
  // Adam's first steps go by the sign of a gradient, so rounding moves a parameter whose gradient is almost 0.
  if (between([&](AnyTrainer& t) { return t.step(other), gradients_of(t.module()); }) > 1e4 * tolerance) {
    return "the second step's gradients differ";
  }
  return "";
}

}  // namespace creditlib::test::law
