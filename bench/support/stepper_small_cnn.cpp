// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/small_cnn.hpp>

#include "support/rule_trainers.hpp"

namespace bench {

template Stepper stepper_on(creditlib::SmallCNN, const Settings&, bool);

}  // namespace bench
