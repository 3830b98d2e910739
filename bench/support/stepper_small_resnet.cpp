// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/small_resnet.hpp>

#include "support/rule_trainers.hpp"

namespace bench {

template Stepper stepper_on(creditlib::SmallResNet, const Settings&, bool);

}  // namespace bench
