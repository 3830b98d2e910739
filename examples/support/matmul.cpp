// SPDX-License-Identifier: Apache-2.0
#include "support/matmul.hpp"

#include <fmt/format.h>

#include <creditlib/runtime/matmul.hpp>
#include <cstdio>

#include "support/program.hpp"

namespace support {

namespace process = creditlib::process;
using creditlib::runtime::Matmul;

namespace {

bool rounds = false;  // bf16 was asked for, which LibTorch knows as oneDNN

/// What the first process gives, in all: products are to have the same bits in them.
Matmul shared(Matmul own) {
  const auto number = torch::full({}, static_cast<std::int64_t>(own), torch::kInt64);
  group()->broadcast({number}, 0);
  return static_cast<Matmul>(number.item<std::int64_t>());
}

}  // namespace

const std::vector<std::string>& matmul_names() {
  static const std::vector<std::string> names{"auto", "mkl", "onednn", "bf16"};
  return names;
}

void set_matmul(const std::string& wanted, bool quiet) {
  rounds = wanted == "bf16";
  if (wanted == "auto") {
    if (!leads()) return creditlib::runtime::use_matmul(shared(Matmul::Default));
    const auto trial = creditlib::runtime::choose_matmul();
    shared(creditlib::runtime::matmul_in_use());
    if (quiet) return;
    fmt::print(stderr, "matmul: {} (mkl {:.2f} ms, error {:.0e}; onednn {:.2f} ms, {:.0e}; --matmul chooses)\n",
               matmul_in_use(), trial.default_milliseconds, trial.default_error, trial.onednn_milliseconds,
               trial.onednn_error);
    return;
  }
  try {
    creditlib::runtime::use_matmul(wanted == "mkl"      ? Matmul::Default
                                   : wanted == "onednn" ? Matmul::OneDNN
                                                        : Matmul::BFloat16);
  } catch (const creditlib::Error& error) {
    throw UsageError(fmt::format("--matmul {}: {}", wanted, error.what()));
  }
}

std::string matmul_in_use() {
  if (creditlib::runtime::matmul_in_use() == Matmul::Default) return "mkl";
  return rounds ? "bf16" : "onednn";
}

}  // namespace support
