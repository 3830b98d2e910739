#include <creditlib/model/small_resnet.hpp>

#include "support/method_trainers.hpp"

namespace support {

template std::unique_ptr<AnyTrainer> method_trainer(const std::string&, creditlib::SmallResNet, const MethodSettings&,
                                                    bool);

}  // namespace support
