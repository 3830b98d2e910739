// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>

#include <creditlib/testing/detail/law.hpp>
#include <creditlib/testing/detail/snapshot.hpp>
#include <creditlib/testing/detail/temporary_folder.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <functional>

/// Laws of a rule's run state.
namespace creditlib::detail::laws {

/// The source's own learning changes the source, and leaves the model, its gradients, running statistics and torch's
/// generator as they were, without the trainer's care too.
inline Verdict learning_leaves_the_model(const Subject& subject) {
  const auto batch = subject.batch();
  const auto trainer = subject.make({});
  trainer->step(batch);
  const auto before = snapshot(*trainer);

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
inline Verdict resumed_run_is_the_same(const Subject& subject, Optimizer optimizer) {
  const TemporaryFolder folder;
  TrainerOptions options{.lr = 1e-2, .clip_norm = 1.0, .epochs = 4, .seed = 7, .optimizer = optimizer};
  const auto train = [&](LawTrainer& trainer, std::uint64_t seed) {
    at::manual_seed(seed);
    for (std::uint64_t i = 0; i < 3; ++i) {
      trainer.step(subject.batch(torch::kFloat32, 7, seed + i));
      trainer.learn(subject.batch(torch::kFloat32, 7, seed + i));
    }
    trainer.end_epoch();
    trainer.step(subject.batch(torch::kFloat32, 7, seed));
  };
  const auto first = subject.make({.options = options});
  train(*first, 20);
  first->save(folder / "checkpoint");
  train(*first, 30);

  options.seed = 99;
  const auto resumed = subject.make({.options = options, .weights_seed = 3});
  train(*resumed, 40);
  resumed->step(subject.batch());
  if (difference(snapshot(*first), snapshot(*resumed)).empty()) return failed("two runs of one kind: nothing to see");
  resumed->load(folder / "checkpoint");
  train(*resumed, 30);

  return held_if_none(difference(snapshot(*first), snapshot(*resumed)));
}

inline Verdict resumed_run_with_adamw(const Subject& subject) {
  return resumed_run_is_the_same(subject, Optimizer::AdamW);
}
inline Verdict resumed_run_with_sgd(const Subject& subject) { return resumed_run_is_the_same(subject, Optimizer::SGD); }

}  // namespace creditlib::detail::laws
