// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/sequential_blocks.hpp>

#include "support/rule_trainers.hpp"

namespace bench {

template Stepper stepper_on(creditlib::SequentialBlocks, const Settings&, bool);

}  // namespace bench
