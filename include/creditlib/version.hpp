// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The version of these headers; CMakeLists.txt names the same, and a test holds the two together.
#define CREDITLIB_VERSION_MAJOR 0
#define CREDITLIB_VERSION_MINOR 1
#define CREDITLIB_VERSION_PATCH 0

/// "major.minor.patch".
#define CREDITLIB_VERSION "0.1.0"
