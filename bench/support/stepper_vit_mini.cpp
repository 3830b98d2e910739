#include <creditlib/model/vit_mini.hpp>

#include "support/held_stepper.hpp"

namespace bench {

template std::unique_ptr<Stepper> stepper_on(creditlib::ViTMini, const Settings&);

}  // namespace bench
