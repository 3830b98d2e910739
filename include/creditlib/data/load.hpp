// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <creditlib/data/cifar.hpp>
#include <creditlib/data/dataset.hpp>
#include <creditlib/data/digits.hpp>
#include <creditlib/data/emnist.hpp>
#include <creditlib/data/mnist.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace creditlib {
namespace detail {

/// A data set's name and what reads it.
struct DatasetReader {
  std::string name;
  std::function<data::Splits(const std::filesystem::path&, const data::CifarOptions&)> read;
};

/// All data sets that load knows.
inline std::vector<DatasetReader> dataset_readers() {
  const auto of_folder = [](const auto& read) {
    return [read](const std::filesystem::path& folder, const data::CifarOptions&) { return read(folder); };
  };
  std::vector<DatasetReader> readers{
      {"cifar10", data::cifar10},          {"cifar100", data::cifar100},
      {"mnist", of_folder(data::mnist)},   {"fashion_mnist", of_folder(data::fashion_mnist)},
      {"kmnist", of_folder(data::kmnist)}, {"qmnist", of_folder(data::qmnist)}};
  for (const auto& split : emnist_splits) {
    readers.push_back({std::string("emnist_") + split.name,
                       of_folder([name = split.name](const auto& folder) { return data::emnist(folder, name); })});
  }
  readers.push_back({"digits", of_folder(data::digits)});
  return readers;
}

}  // namespace detail

namespace data {

/// The names that load takes.
inline std::vector<std::string> dataset_names() {
  std::vector<std::string> names;
  for (const auto& reader : detail::dataset_readers()) names.push_back(reader.name);
  return names;
}

/// Loads a data set by name from the folder with its files or that folder's parent. Names are
///
///     cifar10  cifar100  mnist  fashion_mnist  kmnist  qmnist  emnist_letters  digits
///
/// and emnist_ with its other splits, see emnist; dataset_names() lists all. `cifar` applies to the first two; the other
/// formats state the number of images.
///
/// - Throws Error for another name, and whatever the data set's own reader throws.
inline Splits load(const std::string& name, const std::filesystem::path& folder, const CifarOptions& cifar = {}) {
  const auto readers = detail::dataset_readers();
  const auto found = std::ranges::find(readers, name, &detail::DatasetReader::name);
  if (found != readers.end()) return found->read(folder, cifar);
  detail::fail("load: there is no data set \"", name, "\": use ", detail::choice_text(dataset_names()), ".");
}

}  // namespace data
}  // namespace creditlib
