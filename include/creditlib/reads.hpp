// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

namespace creditlib {

/// What a rule's credit is computed from: a set, put together with |. A state says it with `Reads reads() const`, and
/// the laws hold it to that.
enum class Reads : unsigned {
  Nothing = 0,
  Error = 1,     ///< dloss/dlogits, and the logits
  Target = 2,    ///< the labels themselves
  Hidden = 4,    ///< hidden states, branches and the input
  Readout = 8,   ///< the readout's weights, as Trace::loss_gradient does
  Signs = 16,    ///< the signs of the weights
  Weights = 32,  ///< the blocks' weights, as Trace::pullback does
  Forward = 64,  ///< the network's answers to changes of its hidden states, as Trace::pushforward has them
};

constexpr Reads operator|(Reads a, Reads b) {
  return static_cast<Reads>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
/// Whether two sets have something in common.
constexpr bool any_of(Reads a, Reads b) { return (static_cast<unsigned>(a) & static_cast<unsigned>(b)) != 0; }

/// "error, hidden states".
inline std::string text_of(Reads set) {
  std::string text;
  for (const auto& [one, name] :
       std::initializer_list<std::pair<Reads, const char*>>{{Reads::Error, "error"},
                                                            {Reads::Target, "target"},
                                                            {Reads::Hidden, "hidden states"},
                                                            {Reads::Readout, "readout's weights"},
                                                            {Reads::Signs, "signs of the weights"},
                                                            {Reads::Weights, "weights"},
                                                            {Reads::Forward, "forward products"}}) {
    if (any_of(set, one)) text += (text.empty() ? "" : ", ") + std::string(name);
  }
  return text.empty() ? "nothing" : text;
}

}  // namespace creditlib
