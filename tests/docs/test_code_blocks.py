#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of code_blocks.py.

usage: test_code_blocks.py COMPILER
"""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent / "code_blocks.py"
COMPILER = "c++"


class CodeBlocks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name).resolve()

    def extract(self, *texts, count=False):
        """Extracts from pages with these texts. Gives the finished process; its file is self.unit."""
        self.pages, self.unit = [], self.root / "unit.cpp"
        for number, text in enumerate(texts):
            self.pages.append(self.root / f"page-{number}.md")
            self.pages[-1].write_text(text)
        preamble = self.root / "preamble.hpp"
        preamble.write_text("namespace docs { extern int model; }\n")
        command = [sys.executable, SCRIPT, "--root", self.root, "--preamble", preamble, "--preambles",
                   self.root / "preambles", "--output", self.unit, *(["--count"] if count else []), *self.pages]
        return subprocess.run(command, capture_output=True, text=True)

    def compile(self, *texts):
        """Extracts and compiles. Gives the compiler's messages, which are empty if all is well."""
        extracted = self.extract(*texts)
        self.assertEqual(extracted.returncode, 0, extracted.stderr)
        command = [COMPILER, "-std=c++20", "-Wall", "-Wextra", "-Wno-unused", "-fsyntax-only", self.unit]
        compiled = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(compiled.returncode != 0, "error" in compiled.stderr)
        return compiled.stderr

    def assert_refused(self, text, sentence):
        extracted = self.extract(text)
        self.assertNotEqual(extracted.returncode, 0)
        self.assertIn(sentence, extracted.stderr)

    def test_blocks_compile(self):
        self.assertEqual(self.compile("""Text.
```cpp
#include <vector>
struct Rule { std::vector<int> values; };
```
```cpp body
Rule rule{{model}};
```
"""), "")

    def test_an_error_names_the_page_and_the_line(self):
        messages = self.compile("""Text.

```cpp
struct Rule {};
```

```cpp body
Rule rule;
rule.credit();
```
""")
        self.assertIn(f"{self.pages[0]}:9:", messages)

    def test_a_missing_header_names_the_page_and_the_line(self):
        self.assertIn(f"{self.page_of('```cpp', '#include <no/such.hpp>', '```')}:2:", self.messages)

    def page_of(self, *lines):
        self.messages = self.compile("\n".join(lines))
        return self.pages[0]

    def test_lines_behind_an_include_keep_their_numbers(self):
        self.assertIn(f"{self.page_of('```cpp', '#include <vector>', 'int f() {', '  return nothing;', '}', '```')}:4:",
                      self.messages)

    def test_a_body_block_sees_the_names_above_it_and_may_declare_them_again(self):
        self.assertEqual(self.compile("""
```cpp body
int width = 1;
int classes = model;
```
```cpp body
double width = classes;
```
"""), "")

    def test_a_later_declaration_is_seen_by_an_earlier_body_block(self):
        self.assertEqual(self.compile("```cpp body\nRule rule;\n```\n```cpp\nstruct Rule {};\n```\n"), "")

    def test_pages_do_not_see_each_other(self):
        struct = "```cpp\nstruct Rule {};\n```\n"
        self.assertEqual(self.compile(struct, struct), "")
        self.assertIn(f"{self.root / 'page-1.md'}:2:", self.compile(struct, "```cpp body\nRule rule;\n```\n"))

    def test_programs_do_not_see_each_other(self):
        program = "```cpp\n#include <vector>\nstruct Rule {};\nint main() { Rule rule; }\n```\n"
        self.assertEqual(self.compile(program + program), "")

    def test_the_error_of_a_program_is_found(self):
        self.assertIn(f"{self.page_of('```cpp', 'int main() {', '  nothing();', '}', '```')}:3:", self.messages)

    def test_the_preamble_of_a_page_is_for_that_page(self):
        (self.root / "preambles").mkdir()
        (self.root / "preambles" / "page-0.hpp").write_text("extern int held_out;\n")
        text = "```cpp body\nint all = held_out;\n```\n"
        self.assertEqual(self.compile(text), "")
        messages = self.compile(text, text)
        self.assertIn("page-1.md:2:", messages)
        self.assertNotIn("page-0.md:2:", messages)

    def test_blocks_marked_no_compile_are_skipped_and_counted(self):
        text = "```cpp no-compile\n... }\n```\n```cpp\nint one;\n```\n```\nnot code\n```\n```cmake\nset(a b)\n```\n"
        self.assertEqual(self.compile(text), "")
        self.assertEqual(self.extract(text, count=True).stdout, "2 C++ blocks: 1 compiled, 1 skipped\n")

    def test_indented_blocks_and_longer_fences(self):
        messages = self.compile("1. item\n\n   ```cpp body\n   nothing();\n   ```\n\n"
                                "````\n```cpp\nnot code\n```\n````\n")
        self.assertIn(f"{self.pages[0]}:4:", messages)
        self.assertNotIn(f"{self.pages[0]}:9:", messages)

    def test_what_is_refused(self):
        self.assert_refused("```cpp bodies\n```\n",
                            "page-0.md:1: ```cpp bodies: after cpp comes nothing, body or no-compile")
        self.assert_refused("```c++\n```\n", "page-0.md:1: write ```cpp, not ```c++")
        self.assert_refused("\n```cpp\nint one;\n", "page-0.md:2: this block is not closed")
        self.assert_refused("```cpp body\nf(1;\n```\n", "page-0.md:2: ')' is missing in this block")
        self.assert_refused("```cpp body\nf();\n}\n```\n", "page-0.md:3: '}' closes nothing in this block")

    def test_brackets_in_text_are_not_counted(self):
        self.assertEqual(self.compile("""```cpp body
const char* text = "\\"{";  // ( }
char letter = '(';
int thousand = 1'000;  /* [
*/
```
"""), "")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        COMPILER = sys.argv.pop(1)
    unittest.main()
