# SPDX-License-Identifier: Apache-2.0
# Installs creditlib.pc, for builds without CMake. LibTorch has no such file, so its flags are in this one, with the folder that CMake found:
# pkg-config --define-variable=libtorch=/folder names another.

# From the file's folder to the prefix, wherever it is installed.
file(RELATIVE_PATH pc_up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" pc_prefix "\${pcfiledir}/${pc_up}")

set(pc_requires "")
set(pc_cflags "-std=c++20 -I\${includedir}")
if(ZLIB_FOUND)
  string(APPEND pc_requires " zlib")
  string(APPEND pc_cflags " -DCREDITLIB_WITH_ZLIB")
endif()
if(creditlib_has_images)
  string(APPEND pc_requires " libpng libjpeg")
  string(APPEND pc_cflags " -DCREDITLIB_WITH_IMAGES")
endif()

# creditlib::libtorch in the words of compiler and linker.
get_target_property(folders creditlib::libtorch INTERFACE_INCLUDE_DIRECTORIES)
get_target_property(options creditlib::libtorch INTERFACE_LINK_OPTIONS)
get_target_property(libraries creditlib::libtorch INTERFACE_LINK_LIBRARIES)
list(TRANSFORM folders PREPEND "-isystem ")
list(FILTER libraries EXCLUDE REGEX "^$")
list(GET libraries 0 library)
get_filename_component(folder "${library}" DIRECTORY)
list(APPEND options "LINKER:-rpath,${folder}")
list(TRANSFORM options REPLACE "^LINKER:" "-Wl,")
list(TRANSFORM libraries REPLACE "^([^/-].*)$" "-l\\1")
string(JOIN " " pc_cflags "${pc_cflags}" ${folders})
string(JOIN " " pc_libs ${options} ${libraries})
foreach(flags pc_cflags pc_libs)
  string(REPLACE "${CREDITLIB_LIBTORCH_FOLDER}/" "\${libtorch}/" ${flags} "${${flags}}")
endforeach()

configure_file("${CMAKE_CURRENT_LIST_DIR}/creditlib.pc.in" "${CMAKE_CURRENT_BINARY_DIR}/creditlib.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/creditlib.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT creditlib_development)
