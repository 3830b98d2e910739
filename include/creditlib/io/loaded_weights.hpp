// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <creditlib/detail/describe.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {
namespace io {

/// A tensor whose shape in the file is not the module's.
struct OtherShape {
  std::string name;  // the module's
  std::vector<std::int64_t> in_file, in_module;
};

/// A tensor whose dtype in the file does not convert to the module's.
struct OtherDtype {
  std::string name;  // the module's
  std::string in_file, in_module;
};

/// What load_weights has loaded, and what it has not. The names are the module's, except those of `left_over`.
struct LoadedWeights {
  std::vector<std::string> loaded;
  std::vector<std::string> missing;     // the module has them, the file does not
  std::vector<std::string> left_over;   // the file has them, with these names, the module does not
  std::vector<OtherShape> other_shape;  // both have them
  std::vector<OtherDtype> other_dtype;

  /// Whether everything in the file and in the module was loaded.
  bool complete() const { return missing.empty() && left_over.empty() && other_shape.empty() && other_dtype.empty(); }

  /// What was not loaded, in one line: "1 missing in the file: head.bias; 1 of another shape: head.weight, (10, 64) in the
  /// file, (5, 64) in the module". Of a long list the first 20 are named; empty if there is nothing.
  std::string differences() const {
    std::vector<std::string> shapes, dtypes;
    for (const auto& [name, in_file, in_module] : other_shape) {
      shapes.push_back(both(name, detail::shape_text(in_file), detail::shape_text(in_module)));
    }
    for (const auto& [name, in_file, in_module] : other_dtype) dtypes.push_back(both(name, in_file, in_module));
    std::string text;
    for (const auto& [what, names] : {std::pair{" missing in the file: ", &missing},
                                      {" left over in the file: ", &left_over},
                                      {" of another shape: ", &std::as_const(shapes)},
                                      {" of another dtype: ", &std::as_const(dtypes)}}) {
      if (names->empty()) continue;
      text += (text.empty() ? "" : "; ") + std::to_string(names->size()) + what + shortened(*names);
    }
    return text;
  }

  /// What was loaded and what was not, in one line: "14 tensors loaded; 1 missing in the file: head.bias".
  std::string text() const {
    const auto rest = differences();
    return std::to_string(loaded.size()) + (loaded.size() == 1 ? " tensor loaded" : " tensors loaded") +
           (rest.empty() ? "" : "; " + rest);
  }

 private:
  static std::string both(const std::string& name, const std::string& in_file, const std::string& in_module) {
    return name + ", " + in_file + " in the file, " + in_module + " in the module";
  }

  static std::string shortened(const std::vector<std::string>& names) {
    constexpr std::size_t most = 20;
    std::string text;
    for (std::size_t i = 0; i < std::min(names.size(), most); ++i) text += (i == 0 ? "" : ", ") + names[i];
    if (names.size() > most) text += ", and " + std::to_string(names.size() - most) + " more";
    return text;
  }
};

}  // namespace io
}  // namespace creditlib
