// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/data/dataset.hpp>
#include <creditlib/data/detail/folder.hpp>
#include <creditlib/io/input_file.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {
namespace data {

/// Options of reading a CIFAR folder.
struct CifarOptions {
  /// Accepts files of any whole number of records: your own subsets, or files for tests. Otherwise a file of another
  /// size than the published one is an Error, since a download that stops between two records looks like a smaller set.
  bool any_size = false;
};

}  // namespace data

namespace detail {

inline constexpr std::int64_t cifar_pixels = 3 * 32 * 32;

/// Reads images and labels from files of records: `label_bytes` labels, of which the last one is used, then the pixels.
/// Each published file has `published` records.
inline data::Dataset read_cifar(data::Dataset dataset, const std::filesystem::path& folder,
                                const std::vector<std::string>& names, std::int64_t label_bytes, std::int64_t published,
                                const data::CifarOptions& options, const std::string& cure) {
  const std::int64_t record = label_bytes + cifar_pixels;
  std::vector<io::InputFile> files;
  std::int64_t images = 0;
  for (const auto& name : names) {
    const auto& file = files.emplace_back(dataset.name, folder / name, cure);
    if (file.size() == 0 || file.size() % record != 0) {
      file.fail("is ", file.size(), " bytes, expected ", published * record, " (", published, " records of ", record,
                options.any_size ? ") or another whole number of records" : ")", ": it is truncated; ", cure);
    }
    if (!options.any_size && file.size() != published * record) {
      file.fail("is ", file.size(), " bytes (", file.size() / record, " records), expected ", published * record, " (",
                published, " records of ", record, "): it is ",
                file.size() < published * record ? "truncated" : "not the published file", "; ", cure,
                ", or read custom files with CifarOptions{.any_size = true}");
    }
    images += file.size() / record;
  }
  dataset.images = torch::empty({images, 3, 32, 32}, torch::kUInt8);
  dataset.labels = torch::empty({images}, torch::kInt64);
  std::int64_t begin = 0;
  for (auto& file : files) {
    const std::int64_t count = file.size() / record;
    const auto records = torch::empty({count, record}, torch::kUInt8);
    file.read(records.data_ptr(), file.size());
    const auto labels = dataset.labels.narrow(0, begin, count).copy_(records.select(1, label_bytes - 1));
    check_labels(c10::str(dataset.name, ": ", file.path()), labels, dataset.classes);
    dataset.images.narrow(0, begin, count)
        .copy_(records.narrow(1, label_bytes, cifar_pixels).reshape({count, 3, 32, 32}));
    begin += count;
  }
  return dataset;
}

}  // namespace detail

namespace data {

/// CIFAR-10, binary version: 50,000 + 10,000 images of 3 x 32 x 32 in 10 classes, in five training files and one test
/// file of 10,000 records each. `folder` is cifar-10-batches-bin or the folder that contains it.
///
/// - Throws Error, naming the file, if one is missing, truncated (with its size and the expected one), of another size
///   than published (see CifarOptions), or has a label out of range.
/// - Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
inline Splits cifar10(const std::filesystem::path& folder, const CifarOptions& options = {}) {
  const std::string cure = "download the CIFAR-10 binary version and unpack it there";
  const auto place =
      detail::data_folder("cifar10", folder, {"cifar-10-batches-bin"}, {"data_batch_1.bin", "test_batch.bin"}, cure);
  const Dataset cifar{.name = "cifar10",
                      .classes = 10,
                      .pixel_max = 255,
                      .mean = {0.4914, 0.4822, 0.4465},
                      .deviation = {0.2470, 0.2435, 0.2616}};
  const std::vector<std::string> train = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                          "data_batch_4.bin", "data_batch_5.bin"};
  return {.train = detail::read_cifar(cifar, place, train, 1, 10'000, options, cure),
          .test = detail::read_cifar(cifar, place, {"test_batch.bin"}, 1, 10'000, options, cure),
          .augment = true};
}

/// CIFAR-100, binary version, with its fine labels: 50,000 + 10,000 images of 3 x 32 x 32 in 100 classes, one file
/// each. `folder` is cifar-100-binary or the folder that contains it.
///
/// - Throws Error, naming the file, if one is missing, truncated (with its size and the expected one), of another size
///   than published (see CifarOptions), or has a label out of range.
/// - Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
inline Splits cifar100(const std::filesystem::path& folder, const CifarOptions& options = {}) {
  const std::string cure = "download the CIFAR-100 binary version and unpack it there";
  const auto place = detail::data_folder("cifar100", folder, {"cifar-100-binary"}, {"train.bin", "test.bin"}, cure);
  const Dataset cifar{.name = "cifar100",
                      .classes = 100,
                      .pixel_max = 255,
                      .mean = {0.5071, 0.4867, 0.4408},
                      .deviation = {0.2675, 0.2565, 0.2761}};
  return {.train = detail::read_cifar(cifar, place, {"train.bin"}, 2, 50'000, options, cure),
          .test = detail::read_cifar(cifar, place, {"test.bin"}, 2, 10'000, options, cure),
          .augment = true};
}

}  // namespace data
}  // namespace creditlib
