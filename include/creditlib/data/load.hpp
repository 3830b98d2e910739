#pragma once

#include <creditlib/data/cifar.hpp>
#include <creditlib/data/dataset.hpp>
#include <creditlib/data/digits.hpp>
#include <creditlib/data/mnist.hpp>
#include <creditlib/error.hpp>
#include <filesystem>
#include <string>

namespace creditlib::data {

/// The data set of that name, cifar10, cifar100, mnist or digits, from the folder that holds its files or the folder
/// they came in. `cifar` is for the first two; the files of the others say themselves how many images they hold.
///
/// Throws Error if the name is another one, and what the data set's own reader throws.
inline Splits load(const std::string& name, const std::filesystem::path& folder, const CifarOptions& cifar = {}) {
  if (name == "cifar10") return cifar10(folder, cifar);
  if (name == "cifar100") return cifar100(folder, cifar);
  if (name == "mnist") return mnist(folder);
  if (name == "digits") return digits(folder);
  detail::fail("load: there is no data set \"", name, "\": use cifar10, cifar100, mnist or digits");
}

}  // namespace creditlib::data
