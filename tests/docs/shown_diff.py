#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the diff block of docs/bring_your_own.md: what changes from examples/bring_your_own/before.cpp to after.cpp.

usage: tests/docs/shown_diff.py [--check]

Run it after changing one of the programs. --check changes nothing; exit code 1 if the page is stale.
"""
import difflib
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "bring_your_own.md"
BLOCK = re.compile(r"^```diff\n.*?^```$", re.DOTALL | re.MULTILINE)


def program(name):
    """The lines of a program, from its first #include on."""
    text = (ROOT / "examples" / "bring_your_own" / name).read_text()
    return text[text.index("#include"):].splitlines()


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    before, after = program("before.cpp"), program("after.cpp")
    lines = list(difflib.unified_diff(before, after, n=len(before), lineterm=""))[3:]  # without file names and positions
    old = PAGE.read_text()
    shown = "\n".join(["```diff", *(line.rstrip() for line in lines), "```"])
    new, blocks = BLOCK.subn(lambda _: shown, old)
    if blocks != 1:
        sys.exit(f"{PAGE} has {blocks} diff blocks, expected one")
    if new != old and "--check" in sys.argv:
        sys.exit(f"{PAGE} does not show the programs as they are: run tests/docs/shown_diff.py")
    PAGE.write_text(new)


if __name__ == "__main__":
    main()
