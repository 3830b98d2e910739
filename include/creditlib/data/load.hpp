// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/data/cifar.hpp>
#include <creditlib/data/dataset.hpp>
#include <creditlib/data/digits.hpp>
#include <creditlib/data/emnist.hpp>
#include <creditlib/data/mnist.hpp>
#include <creditlib/error.hpp>
#include <filesystem>
#include <string>

namespace creditlib::data {

/// Loads a data set by name from the folder with its files or that folder's parent. Names are
///
///     cifar10  cifar100  mnist  fashion_mnist  kmnist  qmnist  emnist_letters  digits
///
/// and emnist_ with its other splits, see emnist. `cifar` applies to the first two; the other formats state the number
/// of images.
///
/// - Throws Error for another name, and whatever the data set's own reader throws.
inline Splits load(const std::string& name, const std::filesystem::path& folder, const CifarOptions& cifar = {}) {
  if (name == "cifar10") return cifar10(folder, cifar);
  if (name == "cifar100") return cifar100(folder, cifar);
  if (name == "mnist") return mnist(folder);
  if (name == "fashion_mnist") return fashion_mnist(folder);
  if (name == "kmnist") return kmnist(folder);
  if (name == "qmnist") return qmnist(folder);
  if (name.starts_with("emnist_")) return emnist(folder, name.substr(7));
  if (name == "digits") return digits(folder);
  detail::fail("load: there is no data set \"", name,
               "\": use cifar10, cifar100, mnist, fashion_mnist, kmnist, qmnist, "
               "emnist_letters (or another split of EMNIST) or digits.");
}

}  // namespace creditlib::data
