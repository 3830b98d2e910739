// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "test.hpp"

static std::string text_of(const std::filesystem::path& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// Private is what lies in a detail/ folder, in pass/ or in trainer/. Folders of old names forward to new ones.
static bool is_public(const std::filesystem::path& header) {
  static const std::set<std::string> private_rooms{"detail", "pass", "trainer"};
  static const std::set<std::string> forwarding_rooms{"process", "protocol"};
  for (const auto& part : header.parent_path()) {
    if (private_rooms.count(part.string()) || forwarding_rooms.count(part.string())) return false;
  }
  return text_of(std::filesystem::path(CREDITLIB_TESTS_DIR).parent_path() / "include" / "creditlib" / header)
             .find("// Moved; this header goes with") == std::string::npos;
}

TEST_CASE("creditlib.hpp includes every public header, and no private one", "[headers]") {
  const auto include = std::filesystem::path(CREDITLIB_TESTS_DIR).parent_path() / "include";
  const auto umbrella = text_of(include / "creditlib" / "creditlib.hpp");
  int checked = 0;

  for (const auto& entry : std::filesystem::recursive_directory_iterator(include / "creditlib")) {
    const auto header = entry.path().lexically_relative(include / "creditlib");
    if (entry.path().extension() != ".hpp" || header == "creditlib.hpp") continue;
    const bool included = umbrella.find("#include <creditlib/" + header.generic_string() + ">") != std::string::npos;
    const bool needs_c10d = header == "distributed/c10d.hpp" || header == "distributed/from_environment.hpp" ||
                            header == "distributed/nccl.hpp";
    const bool only_some_programs = *header.begin() == "cuda" || *header.begin() == "testing" || needs_c10d;
    INFO(header.generic_string());
    CHECK(included == (is_public(header) && !only_some_programs));
    ++checked;
  }
  CHECK(checked > 100);
}
