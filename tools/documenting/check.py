# SPDX-License-Identifier: Apache-2.0
"""Whether every page of a built site finds what it links to and loads, within the site."""

import os
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("source", "srcset"), ("link", "href"), ("iframe", "src")}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loads = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("id", "name"):
                self.anchors.add(value)
            elif (tag, name) in LOADED:
                self.loads.add(value)
            elif (tag, name) == ("a", "href"):
                self.links.add(value)


def problems(site):
    """A sentence for each link to nothing, and for whatever comes from another host."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        shown = path.relative_to(site)
        for target in sorted(page.loads | page.links):
            parts = urlsplit(target)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                if target in page.loads:
                    found.append(f"{shown}: {target} would be loaded from another host")
                continue
            to = path if not parts.path else path.parent / unquote(parts.path)
            to = type(path)(os.path.normpath(to))
            if not to.is_file():
                found.append(f"{shown}: there is no {target}")
            elif parts.fragment and to in pages and unquote(parts.fragment) not in pages[to].anchors:
                found.append(f"{shown}: {target} has no such anchor")
    return found
