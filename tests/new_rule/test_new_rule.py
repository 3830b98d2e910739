#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/new_rule, in a copy of what it reads and writes.

usage: test_new_rule.py [COMPILER FLAG...]   the flags that a test's include folders need; without a compiler nothing is compiled
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
READ = ["include", "tools", "examples/template", "examples/registry", "tests/laws", "tests/layers", "tests/credit", "docs/policies"]
READ_FILES = ["docs/README.md", "CHANGELOG.md", "README.md", "tests/test.hpp"]
COMPILE = []


class NewRule(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name).resolve() / "creditlib"
        for name in READ:
            shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns("build", "__pycache__"))
        for name in READ_FILES:
            shutil.copy(ROOT / name, self.root / name)

    def files(self):
        return {path.relative_to(self.root.parent).as_posix(): path.read_text()
                for path in self.root.parent.rglob("*") if path.is_file()}

    def new_rule(self, *arguments):
        return subprocess.run([sys.executable, self.root / "tools" / "new_rule", *arguments], capture_output=True, text=True)

    def make(self, *arguments):
        made = self.new_rule(*arguments)
        self.assertEqual(made.returncode, 0, made.stderr)
        return made.stdout

    def assert_refused(self, sentence, *arguments):
        before = self.files()
        refused = self.new_rule(*arguments)
        self.assertEqual(refused.returncode, 2, arguments)
        self.assertIn(sentence, refused.stderr)
        self.assertEqual(refused.stdout, "")
        self.assertEqual(self.files(), before)

    def lines_added(self, before, file):
        """The lines that a file has more than before; none may be gone."""
        old, new = before[f"creditlib/{file}"].splitlines(), (self.root / file).read_text().splitlines()
        added = list(new)
        for line in old:
            self.assertIn(line, added, file)
            added.remove(line)
        return added

    def test_a_part_of_the_library_has_all_files_and_lines_of_the_recipe(self):
        before = self.files()

        said = self.make("EchoRule")

        made = sorted(name.partition("/")[2] for name, text in self.files().items() if before.get(name) != text)
        self.assertEqual(made, sorted(["include/creditlib/credit/echo_rule.hpp", "tests/credit/echo_rule.cpp",
                                       "docs/policies/echo_rule.md", "examples/registry/rules.hpp",
                                       "tests/laws/every_rule.hpp", "docs/README.md", "CHANGELOG.md",
                                       "include/creditlib/creditlib.hpp"]))
        for file in made:
            self.assertIn(file, said)
        include = "#include <creditlib/credit/echo_rule.hpp>"
        self.assertEqual(self.lines_added(before, "examples/registry/rules.hpp"),
                         [include, '    Rule{"echo_rule", "credit from the label alone", [](const RuleSettings&) '
                                   "{ return Parts{creditlib::EchoRule{}}; }},"])
        self.assertEqual(self.lines_added(before, "tests/laws/every_rule.hpp"),
                         [include, "    EchoRule,                            //"])
        self.assertEqual(self.lines_added(before, "CHANGELOG.md"), ["- Credit source `EchoRule`."])
        self.assertEqual(self.lines_added(before, "include/creditlib/creditlib.hpp"), [include])
        self.assertIn("[EchoRule](policies/echo_rule.md)", (self.root / "docs" / "README.md").read_text())

    def test_a_part_of_the_library_keeps_the_rules_of_the_house(self):
        self.make("LabelEchoProjection")

        for command in ["tools/umbrella", "--check"], ["tests/layers/layers.py", "include"]:
            checked = subprocess.run([sys.executable, *command], cwd=self.root, capture_output=True, text=True)
            self.assertEqual(checked.returncode, 0, checked.stderr)
        pages = subprocess.run([sys.executable, ROOT / "tests" / "docs" / "check_links.py", self.root], capture_output=True,
                               text=True).stdout
        self.assertEqual([line for line in pages.splitlines() if "label_echo_projection" in line], [])
        for file in "include/creditlib/credit/label_echo_projection.hpp", "tests/credit/label_echo_projection.cpp", "examples/registry/rules.hpp":
            for line in (self.root / file).read_text().splitlines():
                self.assertLessEqual(len(line), 120, line)
        for file in "include/creditlib/credit/label_echo_projection.hpp", "tests/credit/label_echo_projection.cpp", "docs/policies/label_echo_projection.md":
            self.assertNotRegex((self.root / file).read_text(), "MyRule|my_rule")

    def test_a_part_of_the_library_compiles(self):
        if not COMPILE:
            self.skipTest("no compiler was named")
        self.make("EchoRule")

        # The test includes the header before all else: it compiles alone.
        test = self.root / "tests" / "credit" / "echo_rule.cpp"
        self.assertRegex(test.read_text(), r"^// SPDX[^\n]*\n#include <creditlib/credit/echo_rule.hpp>\n")
        compiled = subprocess.run([COMPILE[0], "-std=c++20", "-fsyntax-only", "-I", self.root / "include", *COMPILE[1:], test],
                                  capture_output=True, text=True)
        self.assertEqual(compiled.returncode, 0, compiled.stderr)

    def test_the_header_says_in_order_what_to_fill_in(self):
        self.make("EchoRule")

        for file, last in ("include/creditlib/credit/echo_rule.hpp", 6), ("tests/credit/echo_rule.cpp", 2), ("docs/policies/echo_rule.md", 5):
            numbers = re.findall(r"(?://|<!--) (\d)\. ", (self.root / file).read_text())
            self.assertEqual(numbers, [str(number) for number in range(1, last + 1)], file)

    def test_a_project_is_the_template_with_the_names_replaced(self):
        folder = self.root.parent / "out" / "project"

        said = self.make("EchoRule", "--into", folder)

        template = {path.name: path.read_text() for path in (self.root / "examples" / "template").iterdir()}
        self.assertEqual(sorted(path.name for path in folder.iterdir()),
                         sorted(name.replace("my_rule", "echo_rule") for name in template))
        for name, text in template.items():
            copy = (folder / name.replace("my_rule", "echo_rule")).read_text()
            expected = text.replace("MyRule", "EchoRule").replace("my_rule", "echo_rule")
            self.assertEqual(copy, expected.partition("\n## Copy and rename")[0] if name == "README.md" else expected)
            self.assertNotRegex(copy, "MyRule|my_rule")
        self.assertIn("## Copy and rename", template["README.md"])
        self.assertIn(f"cd {folder}", said)

    def test_a_project_leaves_the_library_as_it_was(self):
        before = self.files()
        (self.root.parent / "empty").mkdir()

        self.make("EchoRule", "--into", self.root.parent / "empty")

        after = {name: text for name, text in self.files().items() if name.startswith("creditlib/")}
        self.assertEqual(after, before)
        self.assertEqual(sorted(path.name for path in self.root.parent.iterdir()), ["creditlib", "empty"])

    def test_names_with_capitals_in_a_row_have_files_of_whole_words(self):
        for name, snake in ("FDFA", "fdfa"), ("EPNet", "ep_net"), ("GrAPE", "gr_ape"), ("Sign2Way", "sign2_way"):
            folder = self.root.parent / name
            self.make(name, "--into", folder)
            self.assertTrue((folder / f"{snake}.hpp").exists(), snake)

    def test_bad_names_are_refused(self):
        for name, sentence in [("class", "class is a keyword of C++"), ("co_await", "is a keyword"),
                               ("3Way", "'3Way' is not an identifier"), ("Two Words", "is not an identifier"),
                               ("../Up", "is not an identifier"), ("", "is not an identifier"),
                               ("sign_symmetry", "sign_symmetry is not CamelCase; write SignSymmetry."),
                               ("echo", "write Echo."), ("_Echo", "is not CamelCase"),
                               ("State", "State already means something"), ("Trace", "already means something")]:
            self.assert_refused(sentence, name)
            self.assert_refused(sentence, name, "--into", self.root.parent / "project")

    def test_what_exists_is_not_overwritten(self):
        self.assert_refused("Vec exists already, in include/creditlib/credit/vec.hpp", "Vec")
        self.assert_refused("CrossEntropy exists already", "CrossEntropy")
        self.make("EchoRule")
        self.assert_refused("EchoRule exists already", "EchoRule")
        (self.root / "docs" / "policies" / "other_rule.md").write_text("A page.\n")
        self.assert_refused("docs/policies/other_rule.md exists already", "OtherRule")
        self.assert_refused("is not an empty folder", "OtherRule", "--into", self.root)
        self.assert_refused("is not an empty folder", "OtherRule", "--into", self.root / "CHANGELOG.md")

    def test_nothing_is_written_if_a_file_has_no_place_for_its_line(self):
        for file, place in [("examples/registry/rules.hpp", "inline constexpr auto rules"), ("tests/laws/every_rule.hpp", "TargetProjection,"),
                            ("docs/README.md", "| credit source |"), ("CHANGELOG.md", "### Added: parts")]:
            path = self.root / file
            text = path.read_text()
            path.write_text(text.replace(place, "something else"))
            self.assert_refused(f"{file} has no ", "EchoRule")
            path.write_text(text)

    def test_nothing_is_written_if_one_file_cannot_be(self):
        shutil.rmtree(self.root / "docs" / "policies")
        self.assert_refused("docs/policies", "EchoRule")
        self.assert_refused("CHANGELOG.md", "EchoRule", "--into", self.root / "CHANGELOG.md" / "project")

    def test_usage(self):
        self.assertIn("usage: tools/new_rule NAME", self.make("--help"))
        for arguments in [], ["EchoRule", "--into"], ["EchoRule", "--in", "x"], ["--into", "x"], ["A", "B"]:
            self.assert_refused("usage: tools/new_rule NAME", *arguments)


if __name__ == "__main__":
    COMPILE, sys.argv[1:] = sys.argv[1:], []
    unittest.main()
