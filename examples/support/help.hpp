// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <string>

namespace support {

/// --help of no more columns than COLUMNS says, or the terminal has; 80 where neither is known. Lines are broken before
/// a space or behind a comma, and go on below the descriptions.
class Help : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;

 private:
  std::string broken(std::string line, std::size_t columns) const;
};

}  // namespace support
