// SPDX-License-Identifier: Apache-2.0
#include "bring_your_own/digits.hpp"

#include <creditlib/data/load.hpp>
#include <creditlib/data/normalize.hpp>

namespace bring_your_own {

Digits::Digits(Split split) {
  const auto splits = creditlib::data::load("digits", CREDITLIB_DATA_DIR "/digits");
  const auto& data = split == Split::Train ? splits.train : splits.test;
  images_ = creditlib::data::normalize(data.images, data);
  labels_ = data.labels;
}

}  // namespace bring_your_own
