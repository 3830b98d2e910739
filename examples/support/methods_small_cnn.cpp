// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/small_cnn.hpp>

#include "support/method_trainers.hpp"

namespace support {

template Trainer rule_trainer(const std::string&, creditlib::SmallCNN, const MethodSettings&, bool,
                              const creditlib::CrossEntropy&);

}  // namespace support
