# SPDX-License-Identifier: Apache-2.0
"""The site's pages: README.md, everything in docs/, and whatever they link to, in a folder of their own for MkDocs.

Paths stay those of the repository, so that links need no change, except: a public header is a page of the API reference, other source text is a
page that shows it, a folder is a page that lists it.
"""

import os
import re
import shutil
from pathlib import Path

from documenting import reference
from documenting.markdown import for_site, with_links

COPIED = {".svg", ".png", ".json", ".csv"}
LANGUAGES = {".hpp": "cpp", ".cpp": "cpp", ".py": "python", ".cmake": "cmake", ".yaml": "yaml", ".yml": "yaml", ".cff": "yaml", ".toml": "toml"}
DEFINED_IN = re.compile(r"Defined in((?:\s|,|and|\[[^\]]*\]\([^)]*\.hpp\))+)")
PROJECT = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CITATION.cff", "LICENSE"]


class Pages:
    def __init__(self, root, to):
        self.root, self.to = root, to
        self.headers, self.bases = {}, {}
        self.done, self.waiting = set(), []
        for path in sorted((root / "include").rglob("*.hpp")):
            self._read_header(path.relative_to(root / "include").as_posix(), path.read_text(encoding="utf-8"))

    def _read_header(self, path, text):
        header = reference.parse(path, text)
        public = reference.is_public(path, text)
        if public:
            self.headers["include/" + path] = header
        for entity in header.entities:
            if entity.kind in ("struct", "class") and (not public or "detail::" in entity.name):
                self.bases[entity.name.rpartition("::")[2]] = entity

    # ---- Where a file of the repository is on the site ----

    def place(self, path):
        """The site's file for a file or folder of the repository; None if there is no such thing."""
        on_disk = self.root / path
        if on_disk.is_dir():
            return f"{path}/README.md" if (on_disk / "README.md").exists() else f"{path}/index.md"
        if not on_disk.is_file():
            return None
        if on_disk.suffix in COPIED | {".md"}:
            return path
        return re.sub(r"(^|/)\.", r"\1", path) + ".md"  # MkDocs leaves hidden files out

    def moved(self, page, target):
        """What a link of `page` becomes; the file that it names will be there."""
        name, sign, anchor = target.partition("#")
        path = os.path.normpath(os.path.join(os.path.dirname(page), name))
        place = self.place(path)
        if place is None or path.startswith(".."):
            return target  # MkDocs says so
        self.want(path)
        return os.path.relpath(place, os.path.dirname(page) or ".") + sign + anchor

    def want(self, path):
        if path not in self.done:
            self.done.add(path)
            self.waiting.append(path)

    # ---- Writing ----

    def write(self):
        """Writes every page; returns the navigation."""
        for path in ["README.md", *PROJECT, *self.headers, *(page.relative_to(self.root).as_posix() for page in self.root.glob("docs/**/*.md"))]:
            self.want(path)
        while self.waiting:
            self._write(self.waiting.pop())
        self._put("reference.md", self._reference())
        return self.navigation()

    def _write(self, path):
        on_disk, place = self.root / path, self.place(path)
        if on_disk.is_dir():
            self._put(place, self._listing(path, place)) if place.endswith("index.md") else self.want(place)
        elif place == path and on_disk.suffix != ".md":
            (self.to / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(on_disk, self.to / place)
        elif path in self.headers:
            self._put(place, reference.page(self.headers[path], self.bases))
        else:
            text = on_disk.read_text(encoding="utf-8")
            self._put(place, self._page(path, text) if on_disk.suffix == ".md" else _source(path, text))

    def _page(self, path, text):
        if path.startswith("docs/policies/"):
            text += self._declarations(path, text)
        return for_site(with_links(text, lambda target: self.moved(path, target)))

    def _declarations(self, path, text):
        """What the headers of a policy say, for the end of its page."""
        found = DEFINED_IN.search(text)
        parts = []
        for link in re.findall(r"\]\(([^)]*)\)", found[1] if found else ""):
            header = self.headers[os.path.normpath(os.path.join(os.path.dirname(path), link))]
            parts += [f"\n## From {header.path.removeprefix('creditlib/')}", *reference.body(header, self.bases, 3)]
        return "\n\n".join(parts)

    def _listing(self, path, place):
        names = sorted(each.name for each in (self.root / path).iterdir() if not each.name.startswith("."))
        names = [name for name in names if (self.root / path / name).suffix in COPIED | set(LANGUAGES) | {".md"} or (self.root / path / name).is_dir()]
        return "\n".join([f"# {path}", "", *(f"- [{name}]({self.moved(place, name)})" for name in names)]) + "\n"

    def _put(self, place, text):
        (self.to / place).parent.mkdir(parents=True, exist_ok=True)
        (self.to / place).write_text(f"---\nsearch: {{{_search(place)}}}\n---\n{text}", encoding="utf-8")

    # ---- The API reference's index, and the navigation ----

    def rooms(self):
        rooms = {}
        for path, header in self.headers.items():
            inside = header.path.split("/")[1:-1]
            rooms.setdefault("/".join(inside) or "creditlib", []).append((path, header))
        return dict(sorted(rooms.items(), key=lambda room: (room[0] != "creditlib", room[0])))

    def _reference(self):
        out = ["# API reference", "",
               f"The {len(self.headers)} public headers, by folder. `#include <creditlib/creditlib.hpp>` includes all of them but those of `cuda/` and "
               "`testing/`. Names are in `namespace creditlib`, or in the one that is written before them."]
        for room, headers in self.rooms().items():
            out += ["", f"## {room}", "", "| header | |", "|---|---|"]
            for path, header in headers:
                sentence = re.sub(r"(?<!\\)\|", r"\\|", reference.first_sentence(header))
                out.append(f"| [{path.rpartition('/')[2]}]({path}.md) | {sentence} |")
        return "\n".join(out) + "\n"

    def navigation(self):
        """Sections are those of docs/README.md; a page that has a folder of its name has that folder's pages below it."""
        text = (self.root / "docs/README.md").read_text(encoding="utf-8")
        references = dict(re.findall(r"^\[([^\]]+)\]: +(\S+)$", text, re.MULTILINE))
        text = re.sub(r"\]\[([^\]]+)\]", lambda found: f"]({references[found[1]]})", text)
        listed = re.split(r"^## +(.*)$", text, flags=re.MULTILINE)[1:]
        all_pages = {page.relative_to(self.root).as_posix() for page in self.root.glob("docs/**/*.md")} - {"docs/README.md"}
        seen, navigation = set(), [{"Home": [{"creditlib": "README.md"}, {"All pages": "docs/README.md"}]}]
        for name, text in zip(listed[::2], listed[1::2]):
            section = []
            for target in re.findall(r"\]\(([^)\s]+\.md)", text):
                page = os.path.normpath(f"docs/{target}")
                if page in all_pages and page not in seen:
                    seen.add(page)
                    below = sorted(each for each in all_pages if each.startswith(page.removesuffix(".md") + "/"))
                    entry = self._entry(page)
                    section.append({title: [entry, *map(self._entry, below)] for title in entry} if below else entry)
                    seen.update(below)
            if section:
                navigation.append({name: section})
        missing = sorted(all_pages - seen)
        if missing:
            raise SystemExit(f"docs/README.md does not list {', '.join(missing)}: add a line for each.")
        navigation.append({"API": ["reference.md", *({room: [{path.rpartition("/")[2]: path + ".md"} for path, _ in headers]}
                                                     for room, headers in self.rooms().items())]})
        navigation.append({"Project": [{path.removesuffix(".md"): self.place(path)} for path in PROJECT]})
        return navigation

    def _entry(self, page):
        """A page of the navigation: its heading, up to the colon, and where it is."""
        heading = re.search(r"^# (.*)$", (self.root / page).read_text(encoding="utf-8"), re.MULTILINE)[1]
        return {re.sub(r":(?! results$).*", "", heading): page}


def _search(place):
    """How the search ranks a page: guides first, source text not at all."""
    if re.fullmatch(r"docs/(policies/|diagnostics/)?\w+\.md", place):
        return "boost: 2"
    return "exclude: true" if place.startswith(("tests/", "examples/", "data/", ".")) else "boost: 1"


def _source(path, text):
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"^`{3,}", text, re.MULTILINE)), 3)
    return f"# {path}\n\n{fence}{LANGUAGES.get(Path(path).suffix, 'text')}\n{text.rstrip()}\n{fence}\n"
