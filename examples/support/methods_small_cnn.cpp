#include <creditlib/model/small_cnn.hpp>

#include "support/method_trainers.hpp"

namespace support {

template std::unique_ptr<AnyTrainer> method_trainer(const std::string&, creditlib::SmallCNN, const MethodSettings&,
                                                    bool);

}  // namespace support
