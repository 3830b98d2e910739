#include <creditlib/model/vit_mini.hpp>

#include "support/method_trainers.hpp"

namespace support {

template std::unique_ptr<AnyTrainer> method_trainer(const std::string&, creditlib::ViTMini, const MethodSettings&,
                                                    bool);

}  // namespace support
