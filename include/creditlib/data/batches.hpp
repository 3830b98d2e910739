// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <torch/types.h>

#include <algorithm>
#include <creditlib/data/batch.hpp>
#include <creditlib/data/dataset.hpp>
#include <creditlib/data/detail/augmented_images.hpp>
#include <creditlib/data/detail/rank_rows.hpp>
#include <creditlib/data/detail/rows.hpp>
#include <creditlib/data/detail/worker.hpp>
#include <creditlib/data/tensors.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/detail/sent_to.hpp>
#include <creditlib/detail/team.hpp>
#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <cstddef>
#include <cstdint>
#include <future>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <variant>

namespace creditlib::data {

/// The batches of a Dataset or of Tensors; each iteration over it is one epoch.
///
///     data::Batches batches(splits.train, {.batch_size = 128, .augment = splits.augment});
///     data::Batches batches(data::Tensors{.inputs = features, .targets = prices}, {.batch_size = 128});
///     for (auto& [x, y] : batches) trainer.step(x, y);
///
/// - Every sample comes once per epoch, in a new order with `shuffle`, which depends on the seed and the number of
///   samples alone; the last batch may be short.
/// - Order, crops and flips of an epoch are drawn together when it begins, on the CPU, from this object's own
///   generator, and moved to the data's device: CPU and CUDA get the same batches, torch's global generator is left
///   unchanged, and on CUDA nothing waits for a copy.
/// - With `group` each process gets rows of its own of every batch, in equal parts; the batches of all processes
///   together are those of one without it.
/// - For evaluation turn off shuffle and augment; then nothing is drawn.
/// - An epoch's iterator moves and is not copied. Each batch is new memory. On the CPU its images are picked, cropped,
///   flipped and normalized in one pass. On other devices up to 16 batches (and 32 MiB) are made at once, with as many
///   kernels as one, and a batch is a view of them.
class Batches {
 public:
  class Iterator;

  /// Throws Error if the data set is invalid (see Dataset::checked), batch_size is below 1, dtype is not float32 or
  /// float64, or drop_last leaves no batch; with a group, if a batch has fewer samples than there are processes, or
  /// these disagree about options or data.
  explicit Batches(Dataset dataset, BatchOptions options = {})
      : Batches(options, detail::ImageRows(std::move(dataset), options)) {}

  /// Throws Error if the tensors are invalid (see Tensors::checked), batch_size is below 1, drop_last leaves no batch,
  /// augment or dtype is given, or flatten is for inputs (N).
  explicit Batches(Tensors tensors, BatchOptions options = {})
      : Batches(options, detail::TensorRows(std::move(tensors), options)) {}

  Batches(Batches&&) = default;
  Batches& operator=(Batches&&) = default;

  /// The data set that the batches are of. Throws Error if they are of Tensors.
  const Dataset& dataset() const {
    if (const auto* rows = std::get_if<detail::ImageRows>(&rows_)) return rows->source();
    detail::fail("Batches: dataset() was called, but these are batches of Tensors: call tensors().");
  }
  /// The tensors that the batches are of. Throws Error if they are of a Dataset.
  const Tensors& tensors() const {
    if (const auto* rows = std::get_if<detail::TensorRows>(&rows_)) return rows->source();
    detail::fail("Batches: tensors() was called, but these are batches of a Dataset: call dataset().");
  }
  const BatchOptions& options() const { return options_; }

  /// The number of samples.
  std::int64_t size() const {
    return std::visit([](const auto& rows) { return rows.source().size(); }, rows_);
  }

  std::int64_t batches_per_epoch() const {
    const auto full = size() / options_.batch_size;
    return options_.drop_last || size() % options_.batch_size == 0 ? full : full + 1;
  }

  /// Begins an epoch: draws its order, crops and flips. An epoch that is not finished counts too.
  Iterator begin();
  std::default_sentinel_t end() const { return {}; }

  /// The generator's state. Saved between two epochs, it lets a run resume with the batches that would have followed;
  /// saved within an epoch, it resumes at the next one.
  NamedTensors named_tensors() const { return {{"generator", generator_.get_state()}}; }

  /// Restores what named_tensors() gave. Throws Error if it is missing or is not a generator's state.
  void load(const NamedTensors& tensors) {
    const auto found =
        std::find_if(tensors.begin(), tensors.end(), [](const auto& named) { return named.first == "generator"; });
    if (found == tensors.end())
      detail::fail("Batches: \"generator\" is not among the ", tensors.size(), " tensors to load.");
    detail::translated([&] { generator_.set_state(found->second); });
  }

 private:
  using Rows = std::variant<detail::ImageRows, detail::TensorRows>;

  Batches(const BatchOptions& options, Rows rows)
      : options_(options),
        rows_(std::move(rows)),
        generator_(at::make_generator<at::CPUGeneratorImpl>(static_cast<std::uint64_t>(options.seed))) {
    detail::expect::at_least("Batches", "batch_size", options.batch_size, 1);
    if (batches_per_epoch() == 0) {
      const auto& name = std::visit([](const auto& of) -> const std::string& { return of.source().name; }, rows_);
      detail::fail("Batches: drop_last leaves no batch, since ", name.empty() ? "the data" : name, " has ", size(),
                   " samples and batch_size is ", options.batch_size, ": use a smaller batch_size.");
    }
    std::visit(
        [&](const auto& of) { detail::require_same_batches(options_, of.source().name, of.inputs(), of.targets()); },
        rows_);
    own_ = detail::RankRows(options_, size());
  }

  torch::Device device() const {
    return std::visit([](const auto& rows) { return rows.device(); }, rows_);
  }

  /// The draws of an epoch, (N) each.
  detail::ImageDraws draw() {
    const auto samples = size();
    const auto to = device();
    const auto order =
        options_.shuffle ? torch::randperm(samples, generator_, torch::kInt64) : torch::arange(samples, torch::kInt64);
    detail::ImageDraws draws;
    draws.index = creditlib::detail::sent_to(to, torch::kInt64, own_.of(order));
    if (options_.augment) {
      const auto below = [&](std::int64_t end) {
        return own_.of(torch::randint(0, end, {samples}, generator_, torch::kInt64));
      };
      const auto offsets = 2 * detail::ImageRows::padding + 1;
      draws.dy = creditlib::detail::sent_to(to, torch::kInt64, below(offsets));
      draws.dx = creditlib::detail::sent_to(to, torch::kInt64, below(offsets));
      draws.flip = creditlib::detail::sent_to(to, torch::kBool, below(2));
    }
    return draws;
  }

  /// On CUDA a batch is queued without waiting, so another thread gains nothing.
  bool prefetches() const { return options_.prefetch && device().is_cpu(); }

  /// The batch of this number in the epoch; with the `batches` that follow, as one tensor.
  Batch batch(const detail::ImageDraws& epoch, std::int64_t index, std::int64_t batches = 1) const {
    return detail::translated([&] {
      const auto first = index * own_.batch();
      const auto count = std::min(batches * own_.batch(), own_.samples() - first);
      const auto slice = [&](const torch::Tensor& all) { return all.defined() ? all.narrow(0, first, count) : all; };
      const detail::ImageDraws draws{slice(epoch.index), slice(epoch.dy), slice(epoch.dx), slice(epoch.flip)};
      return std::visit([&](const auto& rows) { return rows.batch(draws); }, rows_);
    });
  }

  BatchOptions options_;
  Rows rows_;
  detail::RankRows own_;
  at::Generator generator_;
  std::unique_ptr<detail::Worker> worker_ = std::make_unique<detail::Worker>();
};

/// Iterates over one epoch and makes each batch when it is reached.
class Batches::Iterator {
 public:
  using iterator_concept = std::input_iterator_tag;
  using value_type = Batch;
  using difference_type = std::ptrdiff_t;

  Iterator(Iterator&&) = default;
  Iterator& operator=(Iterator&&) = default;
  ~Iterator() {
    if (next_.valid()) next_.wait();  // it reads the data
  }

  const Batch& operator*() const { return batch_; }
  const Batch* operator->() const { return &batch_; }
  Iterator& operator++() {
    ++index_;
    make();
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const Iterator& at, std::default_sentinel_t) {
    return at.index_ == at.batches_->batches_per_epoch();
  }

 private:
  friend class Batches;

  Iterator(const Batches& batches, detail::ImageDraws draws) : batches_(&batches), draws_(std::move(draws)) { make(); }

  void make() {
    if (*this == std::default_sentinel) return;
    if (!batches_->device().is_cpu()) return take_from_several();
    batch_ = next_.valid() ? next_.get() : batches_->batch(draws_, index_);
    if (!batches_->prefetches() || index_ + 1 == batches_->batches_per_epoch()) return;
    next_ = batches_->worker_->start([batches = batches_, draws = draws_, next = index_ + 1] {
      const detail::OnOneThread alone;  // the others are the step's
      return batches->batch(draws, next);
    });
  }

  /// On a device: batch_ as a part of several that are made at once.
  void take_from_several() {
    const auto batch_size = batches_->own_.batch();
    if (index_ == first_of_next_) {
      several_ = batches_->batch(draws_, index_, at_once_);
      first_ = index_;
      first_of_next_ = index_ + at_once_;
      if (index_ == 0) {  // the first batch alone says how large they are
        constexpr std::size_t most = std::size_t{32} << 20U;
        at_once_ = static_cast<std::int64_t>(
            std::clamp<std::size_t>(most / std::max<std::size_t>(several_.input.nbytes(), 1), 1, 16));
      }
    }
    const auto first = (index_ - first_) * batch_size, count = std::min(batch_size, several_.input.size(0) - first);
    batch_ = {several_.input.narrow(0, first, count), several_.target.narrow(0, first, count)};
  }

  const Batches* batches_;
  detail::ImageDraws draws_;
  std::int64_t index_ = 0;
  Batch batch_;
  Batch several_;  ///< batches first_ to first_of_next_ - 1, on a device
  std::int64_t first_ = 0, first_of_next_ = 0, at_once_ = 1;
  std::future<Batch> next_;  ///< the batch after batch_, if prefetched
};

inline Batches::Iterator Batches::begin() { return {*this, draw()}; }

}  // namespace creditlib::data
