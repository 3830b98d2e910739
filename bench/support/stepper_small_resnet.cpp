#include <creditlib/model/small_resnet.hpp>

#include "support/held_stepper.hpp"

namespace bench {

template std::unique_ptr<Stepper> stepper_on(creditlib::SmallResNet, const Settings&);

}  // namespace bench
