// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

namespace bring_your_own {

/// Called after each epoch with the mean training loss and the accuracy on the test images.
using Report = std::function<void(std::int64_t epoch, double loss, double accuracy)>;

/// The same network from the same weights on the same batches: by back-propagation, and with local credit.
void train_before(std::int64_t epochs, std::uint64_t seed, const Report& report);
void train_after(std::int64_t epochs, std::uint64_t seed, const Report& report);

}  // namespace bring_your_own
