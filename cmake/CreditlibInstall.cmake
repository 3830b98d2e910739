# SPDX-License-Identifier: Apache-2.0
# cmake --install: the headers, a package that find_package(creditlib CONFIG) finds, and creditlib.pc, all in the component
# creditlib_development.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package "${CMAKE_INSTALL_LIBDIR}/cmake/creditlib")
install(TARGETS creditlib EXPORT creditlibTargets
        FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT creditlib_development)
install(TARGETS creditlib_precompiled_headers creditlib_distributed EXPORT creditlibTargets)
target_compile_options(creditlib_distributed INTERFACE
  "$<INSTALL_INTERFACE:-idirafter$<INSTALL_PREFIX>/${CMAKE_INSTALL_INCLUDEDIR}/${gloo_declarations}>")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/${gloo_declarations}"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/creditlib/distributed" COMPONENT creditlib_development)
install(EXPORT creditlibTargets NAMESPACE creditlib:: DESTINATION "${package}" COMPONENT creditlib_development)

# creditlib::json has a file of its own: find_package(creditlib COMPONENTS json) asks for it, and for nlohmann-json.
set(creditlib_has_json FALSE)
if(TARGET creditlib_json AND json_is_imported)
  set(creditlib_has_json TRUE)
  install(TARGETS creditlib_json EXPORT creditlibJsonTargets)
  install(EXPORT creditlibJsonTargets NAMESPACE creditlib:: DESTINATION "${package}" COMPONENT creditlib_development)
endif()

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/creditlibConfig.cmake.in"
                              "${CMAKE_CURRENT_BINARY_DIR}/creditlibConfig.cmake" INSTALL_DESTINATION "${package}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/creditlibConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/creditlibConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/creditlibConfigVersion.cmake"
  "${CMAKE_CURRENT_LIST_DIR}/CreditlibLibTorch.cmake"
  DESTINATION "${package}" COMPONENT creditlib_development)
install(FILES "${CMAKE_CURRENT_SOURCE_DIR}/LICENSE"
        DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT creditlib_development)

if(TARGET creditlib::libtorch)
  include(CreditlibPkgConfig)
endif()
