// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/testing/detail/temporary_folder.hpp>

namespace creditlib::test {
using detail::laws::TemporaryFolder;
}
