// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/vit_mini.hpp>

#include "support/rule_trainers.hpp"

namespace bench {

template Stepper stepper_on(creditlib::ViTMini, const Settings&, bool);

}  // namespace bench
