// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace creditlib {

/// Where block l's credit is estimated. At its output h_{l+1}, the exact credit is dloss/dh_{l+1}. With BlockInput, slot
/// l+1 of the credits holds the estimate made at the block's input h_l instead.
enum class CreditPoint { BlockOutput, BlockInput };

}  // namespace creditlib
