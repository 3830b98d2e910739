// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/residual_mlp.hpp>

#include "regression/loss.hpp"
#include "support/method_trainers.hpp"

namespace support {

template Trainer rule_trainer(const std::string&, creditlib::ResidualMLP, const MethodSettings&, bool,
                              const regression::Loss&);

}  // namespace support
