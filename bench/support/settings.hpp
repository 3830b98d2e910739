// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bench {

/// What is benchmarked, served or verified. Every member is a flag of its name: --rule dfa.
struct Settings {
  std::string rule = "dfa";
  std::string model = "resmlp";  ///< resmlp (width d, blocks L), cnn, resnet or vit
  std::string path = "auto";     ///< generic, closed_form or constant_memory; auto: by formula where the model has one
  std::string precision = "float32";  ///< or bf16: large products of bfloat16, all else float32
  std::string matmul = "mkl";         ///< what multiplies float32 matrices on the CPU: mkl or onednn
  std::string device = "cpu";
  std::string nets = "learn";  ///< of the rules that learn their credit; fixed: their rate is 0
  std::int64_t width = 256, blocks = 4, classes = 10, batch = 128, threads = 1;

  bool nets_learn() const { return nets == "learn"; }
  /// The path with auto resolved.
  std::string resolved_path() const;
  /// "resmlp_d256_L4", "cnn".
  std::string model_name() const;
  /// "dfa/resmlp_d256_L4/closed_form/float32", with the device behind it where that is not the CPU.
  std::string name() const;

  /// Sets LibTorch's threads and matrix products for the process. Throws creditlib::Error where there is no such
  /// device, or not as many cores as threads.
  void apply() const;
};

/// The registry's networks; resmlp stands for all its sizes.
std::vector<std::string> models();

/// Takes the flags of Settings out of a command line and leaves what it does not know.
Settings take_settings(std::vector<std::string>& arguments);
/// The same of those that hold for all of a program's benchmarks: device, matmul, classes, batch, threads.
Settings take_common_settings(std::vector<std::string>& arguments);

/// Takes out a flag; whether it was there.
bool take_switch(std::vector<std::string>& arguments, const std::string& flag);
/// Takes out a flag and its value.
std::optional<std::string> take_value(std::vector<std::string>& arguments, const std::string& flag);

/// Takes out a flag and its names, separated by commas, which must be among `names`; these become the chosen ones.
void take_names(std::vector<std::string>& arguments, const std::string& flag, std::vector<std::string>& names);
/// The parts of a text between commas.
std::vector<std::string> parts_of(const std::string& text);

/// Throws creditlib::Error where something is left over.
void check_all_taken(const std::vector<std::string>& arguments);

}  // namespace bench
