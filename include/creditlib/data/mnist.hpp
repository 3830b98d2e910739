// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/data/dataset.hpp>
#include <creditlib/data/detail/idx_folder.hpp>
#include <filesystem>

namespace creditlib::data {

// MNIST and data sets of the same kind: 28 x 28 gray images in 10 classes. Each reader
//
// - takes the folder with four files, images and labels to train and to test with, or a folder that has it, as
//   torchvision lays it out (MNIST/raw);
// - finds a file under its usual names: train-images-idx3-ubyte, train-images.idx3-ubyte, either also with .gz;
// - throws Error, naming the file, if one is missing, truncated, or has a label out of range.

/// MNIST: 60,000 + 10,000 handwritten digits, in files train-images-idx3-ubyte, train-labels-idx1-ubyte,
/// t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte. Reads any data set of 10 classes in such files.
///
/// Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits" (1998).
inline Splits mnist(const std::filesystem::path& folder) {
  const Dataset mnist{.name = "mnist", .classes = 10, .pixel_max = 255, .mean = {0.1307}, .deviation = {0.3081}};
  return detail::read_idx_folder(
      mnist, folder, {"MNIST/raw", "raw"},
      "download the four MNIST files, train- and t10k-, images and labels, and put them there");
}

/// Fashion-MNIST: 60,000 + 10,000 articles of clothing, in files named like MNIST's. Normalized by the mean and the
/// deviation of its training images.
///
/// Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms"
/// (2017), https://arxiv.org/abs/1708.07747.
inline Splits fashion_mnist(const std::filesystem::path& folder) {
  return detail::read_idx_folder(
      {.name = "fashion_mnist", .classes = 10, .pixel_max = 255}, folder,
      {"FashionMNIST/raw", "raw", "fashion_mnist", "fashion-mnist/data/fashion"},
      "download the four Fashion-MNIST files, train- and t10k-, images and labels, and put them there");
}

/// Kuzushiji-MNIST: 60,000 + 10,000 cursive Japanese characters, in files named like MNIST's. Normalized by the mean and
/// the deviation of its training images.
///
/// Source: Clanuwat et al., "Deep learning for classical Japanese literature" (2018), https://arxiv.org/abs/1812.01718.
inline Splits kmnist(const std::filesystem::path& folder) {
  return detail::read_idx_folder({.name = "kmnist", .classes = 10, .pixel_max = 255}, folder,
                                 {"KMNIST/raw", "raw", "kmnist"},
                                 "download the four KMNIST files, train- and t10k-, images and labels, and put them "
                                 "there");
}

/// QMNIST: MNIST reconstructed, with 60,000 + 60,000 digits, in files qmnist-train-images-idx3-ubyte,
/// qmnist-train-labels-idx2-int and the same with test. Labels are the first column of the labels files. Normalized by
/// MNIST's mean and deviation.
///
/// Source: Yadav, Bottou, "Cold case: the lost MNIST digits" (2019), https://arxiv.org/abs/1905.10498.
inline Splits qmnist(const std::filesystem::path& folder) {
  const Dataset qmnist{.name = "qmnist", .classes = 10, .pixel_max = 255, .mean = {0.1307}, .deviation = {0.3081}};
  return detail::read_idx_folder(qmnist, folder, {"QMNIST/raw", "raw", "qmnist"},
                                 "download the four QMNIST files, qmnist-train- and qmnist-test-, images and labels, "
                                 "and put them there",
                                 {.train = "qmnist-train", .test = "qmnist-test", .label_columns = true});
}

}  // namespace creditlib::data
