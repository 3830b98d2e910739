// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/residual_mlp.hpp>

#include "support/rule_trainers.hpp"

namespace bench {

template Stepper stepper_on(creditlib::ResidualMLP, const Settings&, bool);

}  // namespace bench
