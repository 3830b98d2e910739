#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "test.hpp"

static std::string text_of(const std::filesystem::path& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST_CASE("creditlib.hpp includes every header that has something public", "[headers]") {
  const auto include = std::filesystem::path(CREDITLIB_TESTS_DIR).parent_path() / "include";
  const auto umbrella = text_of(include / "creditlib" / "creditlib.hpp");
  int checked = 0;

  for (const auto& entry : std::filesystem::recursive_directory_iterator(include / "creditlib")) {
    const auto name = entry.path().lexically_relative(include).generic_string();
    if (entry.path().extension() != ".hpp" || name == "creditlib/creditlib.hpp") continue;
    const bool of_no_user = name.rfind("creditlib/detail/", 0) == 0 ||
                            text_of(entry.path()).find("\nnamespace creditlib::detail {") != std::string::npos;
    if (of_no_user) continue;
    INFO(name);
    CHECK(umbrella.find("#include <" + name + ">") != std::string::npos);
    ++checked;
  }
  CHECK(checked > 50);
}
