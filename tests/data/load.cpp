#include <creditlib/data/load.hpp>

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("a data set is loaded by its name", "[data]") {
  const auto root = std::filesystem::path(CREDITLIB_TESTS_DIR).parent_path();
  const TemporaryFolder folder;

  CHECK(data::load("digits", root / "data").train.name == "digits");
  check_error([&] { data::load("cifar10", folder.path()); }, {"cifar10: ", folder.path().string()});
  check_error([&] { data::load("cifar100", folder.path()); }, {"cifar100: ", folder.path().string()});
  check_error([&] { data::load("mnist", folder.path()); }, {"mnist: ", folder.path().string()});
}

TEST_CASE("an unknown name is answered with those there are", "[data]") {
  check_error([] { data::load("imagenet", "."); }, {"\"imagenet\"", "cifar10, cifar100, mnist or digits"});
}
