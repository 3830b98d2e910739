#include <creditlib/model/small_cnn.hpp>

#include "support/held_stepper.hpp"

namespace bench {

template std::unique_ptr<Stepper> stepper_on(creditlib::SmallCNN, const Settings&);

}  // namespace bench
