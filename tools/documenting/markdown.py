# SPDX-License-Identifier: Apache-2.0
"""Pages written for GitHub, as the site's Markdown parser reads them."""

import re

LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?)([^)\s>]+)(>?(?:\s+\"[^\"]*\")?\s*\))")
REFERENCE = re.compile(r"^(\s*\[[^\]]+\]:\s+)(\S+)(.*)$")
SOURCE = re.compile(r"(\b(?:src|srcset|href)=\")([^\"]+)(\")")
FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*([\w+-]*)")
ITEM = re.compile(r"^([-*+]|\d+[.)])\s")
CODE = re.compile(r"(`+)(?:(?!\1).)+\1")
EXTERNAL = re.compile(r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*:|//|#)")


def for_site(text):
    """A list begins without a blank line, and continues in lines that are indented by two; a block's language stands alone."""
    out, fence, in_list = [], None, False
    for line in text.split("\n"):
        mark = FENCE.match(line)
        if fence:
            if mark and mark[2].startswith(fence) and not mark[3]:
                fence = None
            out.append(line)
            continue
        if mark:
            fence = mark[2]
            if out and out[-1].strip():
                out.append("")
            out.append(f"{mark[1]}{mark[2]}{mark[3]}")
            continue
        if ITEM.match(line):
            if not in_list and out and out[-1].strip():
                out.append("")
            in_list = True
        elif line.startswith("#") or (not line.startswith(" ") and out and not out[-1].strip()):
            in_list = False
        out.append(line)
    return "\n".join(out)


def slug(text, separator="-"):
    """The anchor that GitHub gives a heading."""
    kept = "".join(c for c in text.strip().lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", separator)


def with_links(text, moved):
    """The page with every relative link `target` as `moved(target)`; code is left as it is."""
    out, fence = [], None
    for line in text.split("\n"):
        mark = FENCE.match(line)
        if fence:
            fence = None if mark and mark[2].startswith(fence) and not mark[3] else fence
        elif mark:
            fence = mark[2]
        else:
            line = _line_with_links(line, moved)
        out.append(line)
    return "\n".join(out)


def _line_with_links(line, moved):
    codes = []

    def keep(found):
        codes.append(found[0])
        return f"\0{len(codes) - 1}\0"

    def move(found):
        return found[0] if EXTERNAL.match(found[2]) else found[1] + moved(found[2]) + found[3]

    line = CODE.sub(keep, line)
    for pattern in (LINK, REFERENCE, SOURCE):
        line = pattern.sub(move, line)
    return re.sub("\0(\\d+)\0", lambda found: codes[int(found[1])], line)
