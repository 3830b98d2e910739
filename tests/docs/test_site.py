#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of ./run docs on a small clone: tools/docs, tools/documenting. What builds the site needs MkDocs, which ./run docs installs; without it these
tests are skipped. The whole site is built by .ci/run."""
import importlib.util
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
sys.dont_write_bytecode = True
from documenting import markdown  # noqa: E402
from documenting.check import problems  # noqa: E402

HAS_TOOLS = all(map(importlib.util.find_spec, ("mkdocs", "material", "tree_sitter", "tree_sitter_cpp")))

HEADER = '''// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace creditlib {

namespace detail {
/// What no reader looks for.
struct Unseen {};
}  // namespace detail

/// A helper of Half, with P(x < 1; 2).
struct Quarter {};

/// Half of what it is given, for a <T> and any a[l](h); not rounded:
///
///     y = x / 2
/// - Throws Error if x is 0.
struct Half {
  /// What it is divided by.
  double by = 2;
  bool quiet = false;  ///< says nothing

  template <class T>
  T operator()(const T& x) const {
    if (x == 0) throw 1;  // not for readers
    return x / by;
  }

 private:
  int secret_ = 0;
};

namespace detail {
struct Hidden {};
}  // namespace detail

}  // namespace creditlib
'''
PAGES = {
    "README.md": "# Small\n\nSee [the pages](docs/README.md) and [what ends](docs/half.md#the-end).\n",
    "docs/README.md": "# Pages\n\n## Guide\n\n| page |\n|---|\n| [half][h] |\n\n## Nothing\n\n[h]: half.md\n",
    "docs/half.md": "# Half\n\nDefined in [half.hpp](../include/creditlib/half.hpp), in [all](../include).\nA list:\n- one\n- two\n\n"
                    "```cpp body\nint x = 1;\n```\n\n## The end\n\n`[code](nowhere.md)`\n",
    "include/creditlib/half.hpp": HEADER,
    **{name: f"# {name}\n" for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CITATION.cff", "LICENSE")},
}


class Alone(unittest.TestCase):
    def test_without_mkdocs_a_sentence_says_what_installs_it(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-S", "-E", str(ROOT / "tools/docs"), "-o", f"{folder}/site"], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertRegex(done.stderr, r"^docs: No module named '\w+'; \./run docs installs what is needed\.\n$")
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [])


class Pages(unittest.TestCase):
    def test_a_list_needs_no_blank_line_before_it(self):
        self.assertEqual(markdown.for_site("**Note.**\n- a\n  b\n- c\nd"), "**Note.**\n\n- a\n  b\n- c\nd")

    def test_a_block_keeps_its_lines_and_its_language_alone(self):
        self.assertEqual(markdown.for_site("```cpp body\nx\n- y\n```"), "```cpp\nx\n- y\n```")

    def test_links_change_outside_code_alone(self):
        self.assertEqual(markdown.with_links("[a](b.md) `[a](b.md)` <img src=\"c.svg\">\n```\n[a](b.md)\n```\n[r]: d.md\n[w](https://e)", str.upper),
                         "[a](B.MD) `[a](b.md)` <img src=\"C.SVG\">\n```\n[a](b.md)\n```\n[r]: D.MD\n[w](https://e)")

    def test_anchors_are_those_of_github(self):
        self.assertEqual(markdown.slug("Where, x + y: _l_?"), "where-x--y-_l_")


class Check(unittest.TestCase):
    def test_what_is_missing_or_comes_from_elsewhere_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            site = pathlib.Path(folder)
            (site / "a.html").write_text('<p id="x"><a href="b.html">b</a><a href="#x">x</a><a href="#y">y</a><a href="https://e.org/">e</a>'
                                         '<script src="https://e.org/s.js"></script><img src="data:,">')
            self.assertEqual(sorted(problems(site)), ["a.html: #y has no such anchor", "a.html: https://e.org/s.js would be loaded from another host",
                                                      "a.html: there is no b.html"])


@unittest.skipUnless(HAS_TOOLS, "no MkDocs here: ./run docs installs it")
class Site(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.clone = pathlib.Path(self.folder.name, "a clone")
        for path, text in PAGES.items():
            self.write(path, text)
        shutil.copytree(ROOT / "tools" / "documenting", self.clone / "tools" / "documenting")
        shutil.copy(ROOT / "tools" / "docs", self.clone / "tools" / "docs")
        self.site = self.clone / "build" / "site"

    def write(self, path, text):
        (self.clone / path).parent.mkdir(parents=True, exist_ok=True)
        (self.clone / path).write_text(text)

    def docs(self, *arguments, **options):
        return subprocess.run([sys.executable, str(self.clone / "tools/docs"), *arguments], capture_output=True, text=True, **options)

    def test_the_site(self):
        (self.clone / "build/site").mkdir(parents=True)  # an empty folder is no obstacle
        done = self.docs()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, f"{self.site.resolve() / 'index.html'}\n")
        page = (self.site / "docs/half.html").read_text()
        self.assertIn('<h2 id="the-end">', page)
        self.assertIn("<li>one</li>", page)
        reference = (self.site / "include/creditlib/half.hpp.html").read_text()
        for said in ("for a &lt;T&gt; and any a[l](h)", "<li>Throws Error if x is 0.</li>", "What it is divided by.", "says nothing", "operator"):
            self.assertIn(said, reference)
        for hidden in ("secret_", "not for readers", "Hidden", "throw 1"):
            self.assertNotIn(hidden, reference)
        headers = (self.site / "reference.html").read_text()
        self.assertIn("<td>Half of what it is given, for a &lt;T&gt; and any a[l](h); not rounded</td>", headers)  # not what comes before it
        index = json.loads((self.site / "search/search_index.json").read_text())
        self.assertIn("docs/half.html", {entry["location"] for entry in index["docs"]})
        self.assertEqual([path.name for path in self.site.parent.iterdir()], ["site"])  # nothing else is left there

        self.assertEqual(self.docs().returncode, 0)  # it replaces itself

    def test_a_link_to_nothing_is_named_and_the_former_site_stays(self):
        self.assertEqual(self.docs().returncode, 0)
        self.write("docs/half.md", "# Half\n\n[gone](gone.md)\n")
        done = self.docs()
        self.assertEqual(done.returncode, 1)
        self.assertIn("gone.md", done.stderr)
        self.assertIn("The end", (self.site / "docs/half.html").read_text())

    def test_a_full_disk_is_a_sentence_and_the_former_site_stays(self):
        self.assertEqual(self.docs().returncode, 0)
        before = (self.site / "docs/half.html").read_bytes()
        self.write("docs/half.md", PAGES["docs/half.md"] + "\nMore.\n")
        for most in (100, 40_000):  # bytes of a file, as if the disk were full: for the pages, and for what MkDocs makes of them
            done = self.docs(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertRegex(done.stderr, r"^docs: .*/site cannot be made: [^\n]*File too large[^\n]*; the former site, if there was one, is as it was\.\n$")
            self.assertEqual((self.site / "docs/half.html").read_bytes(), before)
            self.assertEqual([path.name for path in self.site.parent.iterdir()], ["site"])

    def test_a_page_that_is_not_listed_is_named(self):
        self.write("docs/other.md", "# Other\n")
        done = self.docs()
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "docs/README.md does not list docs/other.md: add a line for each.\n")
        self.assertFalse(self.site.exists())

    def test_a_folder_of_other_files_is_left_alone(self):
        other = self.clone / "other"
        self.write("other/mine.txt", "mine")
        done = self.docs("-o", str(other))
        self.assertEqual(done.returncode, 2)
        self.assertIn("has files that are no documentation site", done.stderr)
        self.assertEqual([path.name for path in other.iterdir()], ["mine.txt"])

    def test_wrong_flags(self):
        done = self.docs("--fast")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("./run docs --help", done.stderr)


if __name__ == "__main__":
    unittest.main()
