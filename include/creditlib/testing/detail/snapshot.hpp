// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/detail/law_trainer.hpp>
#include <creditlib/testing/detail/temporary_folder.hpp>
#include <creditlib/testing/report.hpp>
#include <creditlib/trainer/checkpoint.hpp>
#include <map>
#include <string>

namespace creditlib::detail::laws {

/// A model's and a trainer's whole state, by name.
using Snapshot = std::map<std::string, torch::Tensor>;

inline Snapshot snapshot(LawTrainer& trainer) {
  const TemporaryFolder folder;
  trainer.save(folder / "state");
  Snapshot state = load_tensors(folder / "state");
  for (const auto& entry : trainer.module().named_parameters()) {
    if (entry.value().grad().defined()) state["grad." + entry.key()] = entry.value().grad().detach().clone();
    state["parameter." + entry.key()] = entry.value().detach().clone();
  }
  for (const auto& entry : trainer.module().named_buffers()) state["buffer." + entry.key()] = entry.value().clone();
  state["global generator"] = global_generator_state();
  return state;
}

inline bool starts_with(const std::string& name, const char* beginning) { return name.rfind(beginning, 0) == 0; }
inline bool of_the_source(const std::string& name) { return starts_with(name, "credit."); }
inline bool own_generator(const std::string& name) { return starts_with(name, "trainer.generator."); }

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

inline testing::Verdict held_if_none(const std::string& wrong) {
  return wrong.empty() ? testing::held() : testing::failed(wrong);
}

/// A snapshot with the trainer's own generators, from which a source may draw, as they are in another.
inline Snapshot without_own_generators(Snapshot snapshot, const Snapshot& other) {
  for (auto& [name, tensor] : snapshot) {
    if (own_generator(name)) tensor = other.at(name);
  }
  return snapshot;
}

}  // namespace creditlib::detail::laws
