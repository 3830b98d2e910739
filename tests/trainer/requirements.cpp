// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include "../test.hpp"

namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// The sentences of a header's static_asserts, each put together from its string literals.
std::vector<std::string> sentences_of(const std::string& header) {
  static const std::regex assertion("static_assert\\s*\\((?:[^\";]*?)((?:\\s*\"(?:[^\"\\\\]|\\\\.)*\")+)\\s*\\)\\s*;");
  static const std::regex literal("\"((?:[^\"\\\\]|\\\\.)*)\"");
  std::vector<std::string> sentences;
  for (std::sregex_iterator found(header.begin(), header.end(), assertion), end; found != end; ++found) {
    const auto literals = (*found)[1].str();
    std::string sentence;
    for (std::sregex_iterator part(literals.begin(), literals.end(), literal); part != end; ++part) {
      sentence += (*part)[1].str();
    }
    sentences.push_back(sentence);
  }
  return sentences;
}

std::size_t occurrences(const std::string& text, const std::string& what) {
  std::size_t number = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++number;
  return number;
}

/// What the cases under compile_fail expect the compiler to say.
std::vector<std::string> expectations() {
  const std::string mark = "// expect: ";
  std::vector<std::string> expected;
  for (const auto& file :
       std::filesystem::directory_iterator(std::filesystem::path(CREDITLIB_TESTS_DIR) / "compile_fail")) {
    if (file.path().extension() != ".cpp") continue;
    std::ifstream stream(file.path());
    for (std::string line; std::getline(stream, line);) {
      if (line.rfind(mark, 0) == 0) expected.push_back(line.substr(mark.size()));
    }
  }
  return expected;
}

}  // namespace

TEST_CASE("each sentence about a requirement is one that a compile-fail case expects", "[concepts]") {
  const auto include = std::filesystem::path(CREDITLIB_TESTS_DIR).parent_path() / "include" / "creditlib";
  const auto expected = expectations();
  std::size_t sentences = 0;

  for (const std::string header : {"trainer/requirements.hpp", "trainer/source_traits.hpp", "credit/mix.hpp"}) {
    const auto text = text_of(include / header);
    const auto found = sentences_of(text);
    INFO(header);
    CHECK(found.size() == occurrences(text, "static_assert("));  // none was overlooked
    for (const auto& sentence : found) {
      INFO(sentence);
      const auto says = [&](const std::string& fragment) { return sentence.find(fragment) != std::string::npos; };
      CHECK(std::count_if(expected.begin(), expected.end(), says) > 0);
      ++sentences;
    }
  }
  CHECK(sentences > 30);
}

TEST_CASE("the sentences of a static_assert are read as the compiler reads them", "[concepts]") {
  const std::string header =
      "static_assert(fits<A, B>(), \"one \" \n \"sentence; `f(x)` "
      "\\\"quoted\\\"\");\nstatic_assert(\n!both,\n\"two\");";

  CHECK(sentences_of(header) == std::vector<std::string>{"one sentence; `f(x)` \\\"quoted\\\"", "two"});
}
