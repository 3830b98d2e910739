// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/torch.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <creditlib/error.hpp>
#include <creditlib/io/atomic_file.hpp>
#include <creditlib/io/detail/event_record.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace creditlib::io {

/// Scalars and histograms for TensorBoard, in a new file of a folder: `tensorboard --logdir FOLDER` shows them while
/// they are written.
///
///     io::EventFile events("runs/dfa");
///     events.scalar("loss/train", loss, step);
///     events.histogram("embed.weight", weight, step);
///     events.flush();
///
/// - What is written reaches the file at `flush()`, which costs a write, and at the destructor.
/// - A run that goes on opens another file in the same folder; TensorBoard joins them.
/// - Not for several threads at once.
class EventFile {
 public:
  /// Creates the folder if it is missing.
  ///
  /// - Throws Error if the folder or the file cannot be created.
  explicit EventFile(const std::filesystem::path& folder) {
    check_writable_folder(folder);
    static std::atomic<int> made{0};  // files of one process and one second are told apart by it
    const auto seconds = static_cast<std::int64_t>(now());
    path_ = folder / ("events.out.tfevents." + std::to_string(seconds) + "." + host() + "." +
                      std::to_string(::getpid()) + "." + std::to_string(made++));
    errno = 0;
    file_.open(path_, std::ios::binary);
    if (!file_) detail::fail("EventFile: ", path_, " cannot be created (", detail::last_system_error(), ").");
    write(event(0).bytes(3, "brain.Event:2"));
    flush();
  }

  ~EventFile() = default;  // closes the file, and says nothing of a full disk: flush() does
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

  /// A point of the curve `tag`. The format has float32: a larger value becomes infinite. What is not finite is written
  /// too, and TensorBoard marks it.
  void scalar(std::string_view tag, double value, std::int64_t step) {
    detail::ProtoMessage point;
    point.bytes(1, tag).number(2, static_cast<float>(value));
    write_summary(point, step);
  }

  /// How the values of a tensor of any shape, dtype and device are distributed, in `buckets` of equal width.
  ///
  /// - Values that are not finite are left out; a tensor without finite values is not written.
  /// - Cost: copies the tensor to the CPU.
  /// - Throws Error if `values` is undefined or complex, or `buckets` is below 1.
  void histogram(std::string_view tag, const torch::Tensor& values, std::int64_t step, std::int64_t buckets = 30) {
    if (!values.defined()) detail::fail("EventFile::histogram: ", tag, " is an undefined tensor.");
    if (values.is_complex()) detail::fail("EventFile::histogram: ", tag, " is complex, expected real numbers.");
    if (buckets < 1) detail::fail("EventFile::histogram: buckets is ", buckets, ", expected a whole number >= 1.");
    auto numbers = values.detach().to(torch::kCPU, torch::kFloat64).reshape({-1});
    numbers = numbers.masked_select(numbers.isfinite());
    if (numbers.numel() == 0) return;
    write_summary(distribution(tag, numbers, buckets), step);
  }

  /// Everything so far is in the file.
  ///
  /// - Throws Error if not all of it could be written: the disk is full.
  void flush() {
    if (file_) errno = 0;  // else it says why writing failed
    if (!file_.flush()) {
      detail::fail("EventFile: ", path_, " cannot be written whole (", detail::last_system_error(),
                   "): free some space or choose another folder.");
    }
  }

 private:
  static double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  }
  static std::string host() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
  }

  // Numbers of fields are those of TensorFlow's event.proto and summary.proto.
  static detail::ProtoMessage event(std::int64_t step) {
    detail::ProtoMessage message;
    message.number(1, now()).number(2, step);
    return message;
  }
  static detail::ProtoMessage distribution(std::string_view tag, const torch::Tensor& numbers, std::int64_t buckets) {
    const double low = numbers.min().item<double>(), high = numbers.max().item<double>();
    std::vector<double> limits, counts;
    if (low == high) {
      limits = {high};
      counts = {static_cast<double>(numbers.numel())};
    } else {
      const auto counted = torch::histc(numbers, buckets, low, high);
      counts.assign(counted.data_ptr<double>(), counted.data_ptr<double>() + buckets);
      for (std::int64_t i = 1; i < buckets; ++i) {
        const double part = static_cast<double>(i) / static_cast<double>(buckets);
        limits.push_back(low * (1 - part) + high * part);
      }
      limits.push_back(high);
    }
    detail::ProtoMessage histogram, value;
    histogram.number(1, low).number(2, high).number(3, static_cast<double>(numbers.numel()));
    histogram.number(4, numbers.sum().item<double>()).number(5, numbers.square().sum().item<double>());
    histogram.numbers(6, limits).numbers(7, counts);
    value.bytes(1, tag).message(5, histogram);
    return value;
  }

  void write_summary(const detail::ProtoMessage& value, std::int64_t step) {
    detail::ProtoMessage summary;
    write(event(step).message(5, summary.message(1, value)));
  }
  void write(const detail::ProtoMessage& message) {
    const auto record = detail::event_record(message.text());
    file_.write(record.data(), static_cast<std::streamsize>(record.size()));
  }

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace creditlib::io
