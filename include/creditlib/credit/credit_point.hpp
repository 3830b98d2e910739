#pragma once

namespace creditlib {

/// Where block l's credit is estimated: at its output h_{l+1}, into which the block writes and where its exact credit
/// is dloss/dh_{l+1}, or at its input h_l. With BlockInput, slot l+1 of the credits holds the estimate made at h_l.
enum class CreditPoint { BlockOutput, BlockInput };

}  // namespace creditlib
