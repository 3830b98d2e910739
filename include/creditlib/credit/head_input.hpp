// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/bind_context.hpp>
#include <creditlib/concepts.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/network/shape.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace creditlib {

/// The hidden state that a head is made for.
struct HeadInput {
  std::int64_t l = 0;                ///< of h_l
  std::vector<std::int64_t> shape;   ///< of h_l for one sample; -1 for a number that differs between batches
  HiddenLayout layout;               ///< which dimension of h_l holds its features
  std::vector<std::int64_t> logits;  ///< the sizes of the logits for one sample: (C), (N, C) or (C, H, W)
  std::int64_t classes = 0;          ///< C
  /// The processes that train together, each with samples of its own: for a head that couples them (distributed::gather).
  std::shared_ptr<distributed::Group> group = distributed::alone();

  std::int64_t features() const { return creditlib::features(shape, layout); }
  /// Whether there is a class for each position: logits (N, C) or (C, H, W).
  bool per_position() const { return logits.size() > 1; }
};

namespace detail {

template <BlockModel Model>
HeadInput head_input(Model& model, std::size_t at, const BindContext& context) {
  const auto l = static_cast<std::int64_t>(at);
  return {l,
          model->hidden_shape(l),
          hidden_layout(model, l),
          logits_shape(model),
          std::int64_t{model->classes()},
          context.group};
}

}  // namespace detail
}  // namespace creditlib
