#include <creditlib/model/residual_mlp.hpp>

#include "support/held_stepper.hpp"

namespace bench {

template std::unique_ptr<Stepper> stepper_on(creditlib::ResidualMLP, const Settings&);

}  // namespace bench
