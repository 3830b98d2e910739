// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "test.hpp"

namespace creditlib::test {

/// A page of docs/, parts of which tests generate: with CREDITLIB_WRITE_DOCS=1 in the environment they are written.
class GeneratedPage {
 public:
  /// `name` within docs/: "rules.md".
  explicit GeneratedPage(const std::string& name) : path_(std::string(CREDITLIB_TESTS_DIR) + "/../docs/" + name) {
    std::ifstream in(path_);
    text_.assign(std::istreambuf_iterator<char>(in), {});
  }

  const std::string& text() const { return text_; }
  /// The part that stands between two marks.
  std::string part(const std::string& begin, const std::string& end) const {
    const auto start = start_of(begin);
    return text_.substr(start, end_of(start, end) - start);
  }
  /// Puts `wanted` there, if the environment says so.
  void offer(const std::string& begin, const std::string& end, const std::string& wanted) {
    if (std::getenv("CREDITLIB_WRITE_DOCS") == nullptr) return;
    const auto start = start_of(begin);
    text_.replace(start, end_of(start, end) - start, wanted);
    std::ofstream(path_) << text_;
  }

 private:
  std::size_t start_of(const std::string& begin) const {
    INFO(path_ << " has the mark " << begin);
    const auto from = text_.find(begin);
    REQUIRE(from != std::string::npos);
    return from + begin.size();
  }
  std::size_t end_of(std::size_t start, const std::string& end) const {
    INFO(path_ << " has the mark " << end);
    const auto to = text_.find(end, start);
    REQUIRE(to != std::string::npos);
    return to;
  }

  std::string path_, text_;
};

}  // namespace creditlib::test
