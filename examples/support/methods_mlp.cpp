// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/sequential_blocks.hpp>

#include "support/method_trainers.hpp"

namespace support {

template Trainer rule_trainer(const std::string&, creditlib::SequentialBlocks, const MethodSettings&, bool,
                              const creditlib::CrossEntropy&);

}  // namespace support
