// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/testing/detail/shapes.hpp>

namespace creditlib::test {
using detail::laws::channel_shapes;
using detail::laws::Shape;
using detail::laws::state_shapes;
}  // namespace creditlib::test
