# SPDX-License-Identifier: Apache-2.0
"""creditlib as a package of Conan 2, made from the clone or source archive around this folder: conan create packaging/conan.

LibTorch is no requirement of the recipe: the CMake package finds it where it is used, as docs/install.md says.
"""
import os
import re

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain
from conan.tools.files import copy, load


class Creditlib(ConanFile):
    name = "creditlib"
    description = "Credit assignment over LibTorch, header-only"
    license = "Apache-2.0"
    topics = ("machine-learning", "credit-assignment", "libtorch", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"with_json": [True, False], "with_zlib": [True, False], "with_images": [True, False]}
    default_options = {"with_json": True, "with_zlib": True, "with_images": False}
    no_copy_source = True

    @property
    def _clone(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._clone, "include", "creditlib", "version.hpp"))
        self.version = re.search(r'CREDITLIB_VERSION "(.+)"', header).group(1)

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "include/*"):
            copy(self, pattern, self._clone, self.export_sources_folder)

    def requirements(self):
        if self.options.with_json:
            self.requires("nlohmann_json/[>=3.9 <4]")
        if self.options.with_zlib:
            self.requires("zlib/[>=1.2.11 <2]")
        if self.options.with_images:
            self.requires("libpng/[>=1.6 <2]")
            self.requires("libjpeg-turbo/[>=2 <4]")

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        for programs in ("TESTS", "EXAMPLES", "BENCH"):
            toolchain.cache_variables[f"CREDITLIB_BUILD_{programs}"] = False
        toolchain.cache_variables["CREDITLIB_LIBTORCH"] = "OFF"
        # What an option leaves out is not used because this machine happens to have it.
        for package, wanted in (("nlohmann_json", self.options.with_json), ("ZLIB", self.options.with_zlib),
                                ("PNG", self.options.with_images), ("JPEG", self.options.with_images)):
            toolchain.cache_variables[f"CMAKE_DISABLE_FIND_PACKAGE_{package}"] = not wanted
        toolchain.generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        CMake(self).install()

    def package_id(self):
        self.info.settings.clear()

    def package_info(self):
        # creditlibConfig.cmake is creditlib's own, which finds LibTorch too.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = [os.path.join("lib", "cmake", "creditlib")]
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
