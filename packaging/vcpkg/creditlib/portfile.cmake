# SPDX-License-Identifier: Apache-2.0
# An overlay port of the clone or source archive around this folder: vcpkg install creditlib --overlay-ports=packaging/vcpkg

set(SOURCE_PATH "${CURRENT_PORT_DIR}/../../..")
set(VCPKG_BUILD_TYPE release) # header-only

vcpkg_check_features(OUT_FEATURE_OPTIONS left_out
  INVERTED_FEATURES
    images CMAKE_DISABLE_FIND_PACKAGE_JPEG
    images CMAKE_DISABLE_FIND_PACKAGE_PNG
    json   CMAKE_DISABLE_FIND_PACKAGE_nlohmann_json
    zlib   CMAKE_DISABLE_FIND_PACKAGE_ZLIB)

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DCREDITLIB_LIBTORCH=OFF
    -DCREDITLIB_BUILD_TESTS=OFF
    -DCREDITLIB_BUILD_EXAMPLES=OFF
    -DCREDITLIB_BUILD_BENCH=OFF
    ${left_out})

vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/creditlib)
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/lib" "${CURRENT_PACKAGES_DIR}/share/doc")

file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
