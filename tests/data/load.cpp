// SPDX-License-Identifier: Apache-2.0
#include <creditlib/data/load.hpp>

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("a data set is loaded by its name", "[data]") {
  const auto repository = std::filesystem::path(CREDITLIB_TESTS_DIR).parent_path();
  const TemporaryFolder folder;

  CHECK(data::load("digits", repository / "data").train.name == "digits");
  for (const auto& name : data::dataset_names()) {
    check_error([&] { data::load(name, folder.path()); }, {name + ": ", folder.path().string()});
  }
}

TEST_CASE("the names of all data sets are listed", "[data]") {
  CHECK(data::dataset_names() == std::vector<std::string>{"cifar10", "cifar100", "mnist", "fashion_mnist", "kmnist",
                                                          "qmnist", "emnist_byclass", "emnist_bymerge",
                                                          "emnist_balanced", "emnist_letters", "emnist_digits",
                                                          "emnist_mnist", "digits"});
}

TEST_CASE("load takes CIFAR files of any size where it is told to", "[data]") {
  const TemporaryFolder folder;
  write_file(folder / "train.bin", cifar_file({{1, 2}, {3, 4}}));
  write_file(folder / "test.bin", cifar_file({{5, 6}}));

  CHECK(data::load("cifar100", folder.path(), {.any_size = true}).train.size() == 2);
  check_error([&] { data::load("cifar100", folder.path()); }, {"train.bin", "is 6148 bytes (2 records)", "any_size"});
}

TEST_CASE("an unknown name is answered with those there are", "[data]") {
  check_error([] { data::load("imagenet", "."); },
              {"\"imagenet\"", "use cifar10, cifar100, mnist, fashion_mnist", "or digits."});
  check_error([] { data::load("emnist_capitals", "."); }, {"\"emnist_capitals\"", "emnist_letters"});
}

TEST_CASE("a folder that is not there is named by its absolute path, with what to do", "[data]") {
  const auto looked_at = (std::filesystem::current_path() / "no/such/folder").string();

  check_error([] { data::load("digits", "no/such/folder"); }, {"no folder \"" + looked_at + "\"", "data/digits"});
  check_error([] { data::load("cifar10", "no/such/folder"); }, {looked_at, "download the CIFAR-10 binary version"});
  check_error([] { data::load("mnist", ""); }, {std::filesystem::current_path().string(), "download the four MNIST"});
}
