// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/vit_mini.hpp>

#include "support/method_trainers.hpp"

namespace support {

template Trainer rule_trainer(const std::string&, creditlib::ViTMini, const MethodSettings&, bool,
                              const creditlib::CrossEntropy&);

}  // namespace support
