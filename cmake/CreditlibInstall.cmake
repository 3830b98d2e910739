# cmake --install: the headers and a package that find_package(creditlib CONFIG) finds.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package "${CMAKE_INSTALL_LIBDIR}/cmake/creditlib")
install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/creditlib" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")
install(TARGETS creditlib EXPORT creditlibTargets)
install(EXPORT creditlibTargets NAMESPACE creditlib:: DESTINATION "${package}")

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/creditlibConfig.cmake.in" "${CMAKE_CURRENT_BINARY_DIR}/creditlibConfig.cmake"
  INSTALL_DESTINATION "${package}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/creditlibConfigVersion.cmake" COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/creditlibConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/creditlibConfigVersion.cmake"
  "${CMAKE_CURRENT_LIST_DIR}/CreditlibLibTorch.cmake"
  DESTINATION "${package}")
install(FILES "${CMAKE_CURRENT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
