#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds docs/first_rule.md to the files of examples/template.

Each C++ and CMake block of the page is some lines of a file there, and together the blocks are all lines of these files: nobody who writes along
is left with another program. Blank lines, the license's line and closing brackets may be left out, and a block may be indented less.

In a diff block the lines that a mistake removes are lines of the template.
"""
import pathlib
import re
import textwrap
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TEMPLATE = ROOT / "examples" / "template"
PAGE = (ROOT / "docs" / "first_rule.md").read_text()
FILES = {path.name: path.read_text().splitlines() for path in TEMPLATE.iterdir()
         if path.suffix in (".hpp", ".cpp") or path.name == "CMakeLists.txt"}
LEFT_OUT = re.compile(r"\s*(?:[})\];]*|(?://|#) SPDX-License-Identifier: .*)")


def blocks(language):
    return [block.rstrip("\n").split("\n") for block in re.findall(rf"^```{language}.*\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)]


def place_of(block):
    """The file and the lines that a block shows: (name, range), or None."""
    wanted = textwrap.dedent("\n".join(block))
    for name, lines in FILES.items():
        for first in range(len(lines) - len(block) + 1):
            if textwrap.dedent("\n".join(lines[first:first + len(block)])) == wanted:
                return name, range(first, first + len(block))
    return None


class FirstRule(unittest.TestCase):
    def test_each_block_is_a_piece_of_the_template(self):
        shown = blocks("cpp") + blocks("cmake")
        self.assertGreater(len(shown), 5)
        for block in shown:
            self.assertIsNotNone(place_of(block), "\n".join(["no file of examples/template has these lines:", *block]))

    def test_together_the_blocks_are_the_whole_template(self):
        missing = {(name, number) for name, lines in FILES.items() for number, line in enumerate(lines) if not LEFT_OUT.fullmatch(line)}
        for name, lines in filter(None, map(place_of, blocks("cpp") + blocks("cmake"))):
            missing -= {(name, number) for number in lines}
        self.assertEqual([f"{name}:{number + 1}: {FILES[name][number]}" for name, number in sorted(missing)], [])

    def test_a_mistake_is_made_in_lines_of_the_template(self):
        removed = [line[1:].strip() for block in blocks("diff") for line in block if line.startswith("-")]
        self.assertGreater(len(removed), 0)
        known = {line.strip() for lines in FILES.values() for line in lines}
        for line in removed:
            self.assertIn(line, known)


if __name__ == "__main__":
    unittest.main()
