#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns the C++ blocks of documentation pages into one C++ file, so that a compiler checks them.

usage: code_blocks.py --root FOLDER [--preamble FILE] [--preambles FOLDER] --output FILE PAGE...
       code_blocks.py --root FOLDER --count PAGE...

The line that opens a block says what the block is:

    ```cpp             declarations at namespace scope, or a whole program with main
    ```cpp body        statements inside a function
    ```cpp no-compile  neither; skipped, and counted

Each page has a namespace of its own, inside the namespace docs. Declarations come first, in the order of the page; a
program has a nested namespace of its own. Statements follow in one function per page. Each body block opens a scope in
that of the body block before it, so that it sees the names above it and may declare them again. #include lines are
moved to the top of the file.

--preamble names a header that declares what any block may use (model, x, y, ...). A file in the --preambles folder with
the path of a page (docs/paths.hpp for docs/paths.md) declares what the blocks of that page use in addition.

Compiler errors name the page and the line in it.
"""
import argparse
import collections
import pathlib
import re
import sys

KINDS = {"": "declarations", "body": "body", "no-compile": "skipped"}

Block = collections.namedtuple("Block", "kind line text")  # line: of the first line of text, counted from 1


class PageError(Exception):
    pass


def blocks_of(page, text):
    """The C++ blocks of a page, in order."""
    blocks, fence, lines = [], None, text.split("\n")
    for number, line in enumerate(lines, 1):
        found = re.match(r"( *)(`{3,}|~{3,})(.*)$", line)
        if fence is None:
            if not found:
                continue
            info = found[3].strip()
            language, _, rest = info.partition(" ")
            if language.lower() in ("c++", "cc", "cxx", "hpp"):
                raise PageError(f"{page}:{number}: write ```cpp, not ```{language}")
            if language == "cpp" and rest.strip() not in KINDS:
                raise PageError(f"{page}:{number}: ```{info}: after cpp comes nothing, body or no-compile")
            kind = KINDS[rest.strip()] if language == "cpp" else None
            fence = (found[1], found[2], number, kind)
        elif found and found[2].startswith(fence[1]) and not found[3].strip():
            indent, _, opened, kind = fence
            if kind:
                inside = [line[len(indent):] if line.startswith(indent) else line for line in lines[opened:number - 1]]
                blocks.append(block(page, kind, opened + 1, "\n".join(inside)))
            fence = None
    if fence is not None:
        raise PageError(f"{page}:{fence[2]}: this block is not closed")
    return blocks


def block(page, kind, line, text):
    if kind == "skipped":
        return Block(kind, line, text)
    check_brackets(page, line, text)
    if kind == "declarations" and MAIN.search(text):
        kind = "program"
    return Block(kind, line, text)


MAIN = re.compile(r"^int main\(", re.MULTILINE)
INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b.*$", re.MULTILINE)
NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)


def check_brackets(page, line, text):
    """A bracket that is not closed would be reported in a block behind this one."""
    closing, open_brackets = {"(": ")", "[": "]", "{": "}"}, []
    code = NOT_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for number, content in enumerate(code.split("\n"), line):
        for letter in content:
            if letter in closing:
                open_brackets.append((closing[letter], number))
            elif letter in closing.values():
                if not open_brackets or open_brackets.pop()[0] != letter:
                    raise PageError(f"{page}:{number}: '{letter}' closes nothing in this block")
    if open_brackets:
        raise PageError(f"{page}:{open_brackets[-1][1]}: '{open_brackets[-1][0]}' is missing in this block")


def line_directive(line, file):
    name = str(file).replace("\\", "/").replace('"', '\\"')
    return f'#line {line} "{name}"'


def includes_of(page, text, line):
    for found in INCLUDE.finditer(text):
        yield f"{line_directive(line + text.count(chr(10), 0, found.start()), page)}\n{found[0].strip()}"


def without_includes(text):
    return INCLUDE.sub("", text)


def unit(root, pages, preamble, preambles):
    """The C++ file for `pages`."""
    includes, namespaces = [], []
    for page in pages:
        blocks = [each for each in blocks_of(page, page.read_text(encoding="utf-8")) if each.kind != "skipped"]
        if not blocks:
            continue
        for each in blocks:
            includes += includes_of(page, each.text, each.line)
        name = page.relative_to(root).with_suffix("").as_posix()
        out = [f"namespace docs::{re.sub(r'[^0-9A-Za-z]', '_', name)} {{"]
        extra = preambles / f"{name}.hpp" if preambles else None
        if extra and extra.exists():
            out += [line_directive(1, extra), extra.read_text(encoding="utf-8")]
        for number, each in enumerate(blocks):
            code = [line_directive(each.line, page), without_includes(each.text)]
            if each.kind == "declarations":
                out += code
            elif each.kind == "program":
                code[1] = MAIN.sub("int run(", code[1])  # only ::main returns 0 by itself
                out += [f"namespace program_{number} {{", "#pragma GCC diagnostic push",
                        '#pragma GCC diagnostic ignored "-Wreturn-type"', *code, "#pragma GCC diagnostic pop", "}"]
        bodies = [each for each in blocks if each.kind == "body"]
        if bodies:
            out.append("void statements() {")
            for each in bodies:
                out += ["{", line_directive(each.line, page), without_includes(each.text)]
            out += ["}" * len(bodies), "}"]
        namespaces.append("\n".join([*out, "}", ""]))
    start = [f'#include "{preamble.as_posix()}"'] if preamble else []
    return "\n".join([*start, *includes, "", *namespaces])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--preamble", type=pathlib.Path)
    parser.add_argument("--preambles", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--count", action="store_true")
    parser.add_argument("pages", nargs="+", type=pathlib.Path, metavar="PAGE")
    arguments = parser.parse_args()
    try:
        if arguments.output:
            text = unit(arguments.root, arguments.pages, arguments.preamble, arguments.preambles)
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            if not arguments.output.exists() or arguments.output.read_text(encoding="utf-8") != text:
                arguments.output.write_text(text, encoding="utf-8")  # a page's prose changes: nothing to compile
        if arguments.count:
            kinds = collections.Counter(each.kind for page in arguments.pages
                                        for each in blocks_of(page, page.read_text(encoding="utf-8")))
            compiled = kinds.total() - kinds["skipped"]
            print(f"{kinds.total()} C++ blocks: {compiled} compiled, {kinds['skipped']} skipped")
    except PageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
