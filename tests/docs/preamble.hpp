// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a code block of the documentation may use without declaring it. Nothing is linked, so nothing is defined.

#include <torch/torch.h>

#include <cmath>
#include <concepts>
#include <creditlib/creditlib.hpp>
#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace docs {

extern creditlib::ResidualMLP model;
extern torch::Tensor x, y;                // a batch for it: (B, d) float32, (B) int64
extern creditlib::data::Batches batches;  // batches of that kind
extern creditlib::TrainerOptions options;
extern creditlib::LocalTrainer<creditlib::ResidualMLP, creditlib::DFA> trainer;

}  // namespace docs
