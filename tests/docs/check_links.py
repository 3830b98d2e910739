#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the Markdown pages of the repository: links, anchors, line lengths, page lengths.

    python3 tests/docs/check_links.py [ROOT]

Prints one line per problem, `file:line: what is wrong`, and exits with 1 if there is any. Standard library only.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

MAX_COLUMNS = 159  # lines are under 160 columns
MAX_LINES = 299  # pages are under 300 lines
SKIPPED_FOLDERS = {".git", ".venv", "build", "results", "node_modules"}
NOT_MEASURED = ("docs/results/",)  # links there are checked, lengths are not

LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\s*\[[^\]]+\]:\s+(\S+)")
EXTERNAL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*:")


def pages(root):
    """The Markdown files of the working tree that git tracks or would track; without git, all of them."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
            capture_output=True, check=True).stdout.decode().split("\0")
        return sorted({root / name for name in listed if name and (root / name).is_file()})
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, folders, names in os.walk(root):
            folders[:] = [f for f in folders if f not in SKIPPED_FOLDERS or (f == "results" and Path(folder).name == "docs")]
            found += [Path(folder) / name for name in names if name.endswith(".md")]
        return sorted(found)


def without_code(lines):
    """(number, line) of the lines outside fenced blocks, with inline code blanked out."""
    fence = None
    for number, line in enumerate(lines, 1):
        mark = re.match(r"^ {0,3}(`{3,}|~{3,})", line)
        if fence is None and mark:
            fence = mark.group(1)
        elif fence is not None:
            if mark and mark.group(1)[0] == fence[0] and len(mark.group(1)) >= len(fence) and line.strip() == mark.group(1):
                fence = None
        else:
            yield number, re.sub(r"(`+)(?:(?!\1).)+\1", "``", line)


def slug(heading):
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)  # links: their text
    text = re.sub(r"[`*]", "", text).strip().lower()
    text = "".join(c for c in text if c.isalnum() or c in " -_")
    return text.replace(" ", "-")


def anchors(path, cache):
    if path not in cache:
        found, seen, fenced = set(), {}, False
        for line in path.read_text(encoding="utf-8").splitlines():
            if re.match(r"^ {0,3}(`{3,}|~{3,})", line):
                fenced = not fenced
            if fenced:
                continue
            found.update(re.findall(r"<a\s+(?:id|name)=\"([^\"]+)\"", line))
            heading = re.match(r"^#{1,6}\s+(.*?)\s*#*\s*$", line)
            if heading:
                name = slug(heading.group(1))
                count = seen.get(name, 0)
                seen[name] = count + 1
                found.add(name if count == 0 else f"{name}-{count}")
        cache[path] = found
    return cache[path]


def problem_of_link(root, page, target, cache):
    if EXTERNAL.match(target) or target.startswith("//"):
        return None
    file, _, anchor = target.partition("#")
    if file.startswith("/"):
        return f"link {target} is absolute; use a relative path"
    path = page if not file else Path(os.path.normpath(page.parent / unquote(file)))
    if root not in path.parents and path != root:
        return f"link {target} leads out of the repository"
    if not path.exists():
        return f"link {target}: there is no {path.relative_to(root)}"
    if anchor and path.suffix == ".md" and anchor not in anchors(path, cache):
        return f"link {target}: {path.relative_to(root)} has no heading #{anchor}"
    return None


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]).resolve()
    problems, cache, checked = [], {}, 0
    for page in pages(root):
        name = page.relative_to(root).as_posix()
        lines = page.read_text(encoding="utf-8").splitlines()
        checked += 1
        for number, line in without_code(lines):
            for target in LINK.findall(line) + REFERENCE.findall(line):
                problem = problem_of_link(root, page, target, cache)
                if problem:
                    problems.append((name, number, problem))
        if name.startswith(NOT_MEASURED):
            continue
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_COLUMNS:
                problems.append((name, number, f"{len(line)} columns, expected fewer than {MAX_COLUMNS + 1}"))
        if len(lines) > MAX_LINES:
            problems.append((name, MAX_LINES + 1, f"the page has {len(lines)} lines, expected fewer than {MAX_LINES + 1}"))
    for name, number, problem in sorted(problems):
        print(f"{name}:{number}: {problem}")
    if not checked:
        print(f"{root}:1: no Markdown pages found")
    return 1 if problems or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
