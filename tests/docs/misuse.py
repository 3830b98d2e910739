#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds docs/misuse.md to what provokes its messages: each code block is lines of tests/misuse.cpp or of a program in tests/compile_fail, and what the
compiler says of the latter is on the page. (What the program says is held by tests/misuse.cpp itself.)

usage: misuse.py SAID     SAID: the build's folder tests/compile_fail

With CREDITLIB_WRITE_DOCS=1 in the environment the page gets the compiler's sentences.
"""
import os
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "misuse.md"
MOST_LINES = 10
MISTAKE = re.compile(r"```cpp no-compile\n(?P<code>.*?)\n```\n\n<!-- (?P<kind>compiler|program): (?P<name>\w+) -->\n\n```\n(?P<said>.*?)```\n", re.DOTALL)
SENTENCE = re.compile(r"static assertion failed(?: due to requirement '.*?')?: (creditlib: .*)")


def sentence(said):
    """The first sentence of ours in what the compiler said, in lines that the page has room for."""
    found = SENTENCE.search(said.read_text(encoding="utf-8"))
    return textwrap.fill(found[1], 140, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) + "\n" if found else None


def has_lines(file, code):
    """Whether the code is lines of the file that follow one another."""
    wanted, lines = textwrap.dedent(code).split("\n"), file.read_text(encoding="utf-8").split("\n")
    return any(textwrap.dedent("\n".join(lines[at:at + len(wanted)])).split("\n") == wanted for at in range(len(lines)))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    page, problems = PAGE.read_text(encoding="utf-8"), []
    mistakes = list(MISTAKE.finditer(page))
    if len(mistakes) != 12 or page.count("```cpp") != 12:
        problems.append(f"{len(mistakes)} mistakes and {page.count('```cpp')} C++ blocks, expected 12 of each")
    for mistake in reversed(mistakes):
        name, code = mistake["name"], mistake["code"]
        file = ROOT / ("tests/misuse.cpp" if mistake["kind"] == "program" else f"tests/compile_fail/{name}.cpp")
        if not file.exists() or not has_lines(file, code):
            problems.append(f"{name}: {file} does not have the lines shown")
        if max(code.count("\n") + 1, mistake["said"].count("\n")) > MOST_LINES:
            problems.append(f"{name}: more than {MOST_LINES} lines of code, or of what is said")
        if mistake["kind"] == "program":
            continue
        said = Path(sys.argv[1]) / f"{name}.txt"
        if not said.exists():
            sys.exit(f"{said} is missing: build the target creditlib_compile_fail first.")
        wanted = sentence(said)
        if wanted is None:
            problems.append(f"{name}: the compiler says nothing of ours")
        elif wanted != mistake["said"] and os.environ.get("CREDITLIB_WRITE_DOCS"):
            page = page[:mistake.start("said")] + wanted + page[mistake.end("said"):]
            PAGE.write_text(page, encoding="utf-8")
        elif wanted != mistake["said"]:
            problems.append(f"{name}: the compiler says\n{wanted}the page\n{mistake['said']}(CREDITLIB_WRITE_DOCS=1 writes it)")
    print("\n".join(reversed(problems)) or f"{len(mistakes)} mistakes")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
