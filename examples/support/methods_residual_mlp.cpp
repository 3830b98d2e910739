#include <creditlib/model/residual_mlp.hpp>

#include "support/method_trainers.hpp"

namespace support {

template std::unique_ptr<AnyTrainer> method_trainer(const std::string&, creditlib::ResidualMLP, const MethodSettings&,
                                                    bool);

}  // namespace support
