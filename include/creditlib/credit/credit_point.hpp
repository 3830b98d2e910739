#pragma once

namespace creditlib {

/// Where block l's credit is estimated. Block l writes into h_{l+1}, so its exact credit is dloss/dh_{l+1}:
/// BlockOutput. Some of the reference scripts drive block l with an estimate made at its input h_l: BlockInput; slot
/// l+1 then holds that one.
enum class CreditPoint { BlockOutput, BlockInput };

}  // namespace creditlib
