#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/report, on the results in docs/results and on bad files."""
import base64
import importlib.util
import json
import math
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import unittest
from types import SimpleNamespace

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "docs" / "results"
sys.path.insert(0, str(ROOT / "tools"))
sys.dont_write_bytecode = True

from reporting.folder import NotWritten, write  # noqa: E402
from reporting.readers import read  # noqa: E402
from reporting.runs import groups_of, said  # noqa: E402
from reporting.source import Unreadable  # noqa: E402

HAVE_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None
draws = unittest.skipUnless(HAVE_MATPLOTLIB, "there is no matplotlib; ./run report installs it into .venv")


def results(**log):
    """A results file of train_methods: dfa, two seeds, two epochs."""
    log = {"train_loss": [2.0, 1.5], "train_acc": [0.3, 0.5], "test_acc": [0.25, 0.5], **log}
    diagnostics = {"gamma_block_output": [0.5, -0.5], "hidden_norms_per_layer": [1.0, 60.0, 70.0],
                   "bp_grad_norms_per_layer": [1e-3, 1e-4, 1e-8]}
    entry = {"log": log, "diagnostics": diagnostics, "ms_per_step": 2.0, "steps": 10, "finished": True}
    return {"42": {"dfa": entry}, "7": {"dfa": {**entry, "log": {**log, "test_acc": [0.35, 0.7]}}},
            "config": {"arch": "resmlp", "methods": ["dfa"], "seeds": [42, 7], "epochs": 2, "penalty_lam": 0.0},
            "environment": {"commit": "abc"}}


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name).resolve()

    def file(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def report(self, *arguments, **options):
        return subprocess.run([sys.executable, ROOT / "tools" / "report", *arguments], capture_output=True, text=True,
                              cwd=self.folder, **options)


class Saying(unittest.TestCase):
    def test_a_deviation_has_the_decimals_of_its_mean(self):
        for mean, deviation, form, expected in ((1.25, 0.00386, ".3g", "1.25 ± 0.00"), (9.9, 0.0887, ".3g", "9.90 ± 0.09"),
                                                (27.04, 11.13, ".3g", "27.0 ± 11.1"), (123.4, 5.6, ".3g", "123 ± 6"),
                                                (0.6, 0.1414, ".4f", "0.6000 ± 0.1414"), (1.5e-6, 2e-7, ".3g", "1.50e-06 ± 2e-07"),
                                                (0.3, None, ".4g", "0.3000"), (math.nan, None, ".4f", "not finite")):
            self.assertEqual(said(mean, deviation, form), expected)


class Reading(InFolder):
    def assert_unreadable(self, sentence, content):
        with self.assertRaises(Unreadable) as caught:
            read(self.file("a.json", content), "a.json")
        self.assertIn(sentence, str(caught.exception))

    def test_every_results_file_of_the_project_is_read(self):
        programs = {}
        for path in RESULTS.rglob("*.json"):
            try:
                runs, notes = read(path, path.name)
            except Unreadable as error:
                self.assertIn("docs/performance", str(error), path)  # benchmarks have pages of their own
                continue
            self.assertEqual(notes, [], path)
            for run in runs:
                programs.setdefault(run.program, []).append(run)
                if not run.panel:
                    measure, value = run.outcome()
                    self.assertTrue(math.isfinite(value), f"{path}: {run.name}: {measure}")
        self.assertEqual(set(programs), {"audit", "train_methods", "cnn_baseline", "schedule_timing", "snapshot_time_sweep",
                                         "toy_lq", "weight_transport", "PyTorch reference", "credit_cost"})

    def test_figures_are_those_of_the_file(self):
        groups = {group.label: group for group in groups_of(read(RESULTS / "resmlp/results_cifar10.json", "r")[0])}
        self.assertEqual(list(groups), ["bp", "fa", "dfa", "frozen", "frozen_bp"])
        x, mean, deviation = groups["bp"].curve("test_acc")[-1]
        self.assertEqual((x, round(mean, 3), round(deviation, 3)), (100, 0.613, 0.002))  # as docs/experiments/findings.md has them
        self.assertEqual(round(groups["dfa"].curve("test_acc")[-1][2], 3), 0.019)
        self.assertGreater(groups["dfa"].states_of("hidden_norms")[-1][0], 1e9)
        self.assertEqual(len(groups["dfa"].states_of("gamma")), 4)

    def test_runs_are_told_apart_by_the_settings_in_which_they_differ(self):
        runs = []
        for name in ("without", "with_1e-2"):
            runs += read(RESULTS / "penalty" / name / "results_cifar10.json", name)[0]
        labels = [group.label for group in groups_of(runs)]
        self.assertIn("dfa, penalty_lam 0", labels)
        self.assertIn("dfa, penalty_lam 0.01", labels)
        self.assertIn("frozen", labels)  # in one of the files alone
        twice = read(RESULTS / "resmlp/results_cifar10.json", "a")[0] + read(RESULTS / "resmlp/results_cifar10.json", "b")[0]
        self.assertEqual([group.label for group in groups_of(twice)][:2], ["bp, a", "bp, b"])

    def test_files_that_are_no_results_say_why(self):
        self.assert_unreadable("is empty.", "")
        self.assert_unreadable("is empty.", " \n")
        self.assert_unreadable("is damaged: it ends early, in line 1", json.dumps(results())[:200].rstrip())
        self.assert_unreadable("is damaged: Expecting ',' delimiter, in line 2, column 1", '{"a": 1\n"b": 2}')
        self.assert_unreadable("it holds a list, expected an object", "[1, 2]")
        self.assert_unreadable("is not a results file of a program of creditlib; its keys are name, version", {"name": 1, "version": 2})
        self.assert_unreadable("is damaged: it is nested too deeply", "[" * 200000)
        self.assert_unreadable("gives nothing to draw: no seed in it, only config", {"config": results()["config"]})
        with self.assertRaises(Unreadable) as caught:
            path = self.folder / "b.json"
            path.write_bytes(b"\xff\xfe\x00")
            read(path, "b.json")
        self.assertIn("it is not text", str(caught.exception))

    def test_what_is_missing_or_of_another_kind_is_said_and_the_rest_is_read(self):
        content = results()
        del content["42"]["dfa"]["log"]["test_acc"]
        content["42"]["dfa"]["diagnostics"] = "none"
        content["42"]["fa"] = 3
        runs, notes = read(self.file("a.json", content), "a.json")
        self.assertEqual([run.seed for run in runs], [42, 7])
        self.assertIn("a.json: seed 42, dfa: log.test_acc is missing.", notes)
        self.assertIn("a.json: seed 42, dfa: diagnostics is text, expected an object.", notes)
        self.assertIn("a.json: seed 42, fa is a number, expected an object; it is left out.", notes)
        self.assertTrue(runs[0].curves["train_loss"])

    def test_an_unfinished_run_is_said_to_be_one(self):
        content = results()
        content["7"]["dfa"]["finished"] = False
        content["config"]["epochs"] = 9
        notes = read(self.file("a.json", content), "a.json")[1]
        self.assertEqual(notes, ["a.json: dfa, seed 7: not finished after 2 of 9 epochs; it is drawn as far as it goes."])

    def test_values_that_are_not_finite_are_gaps_and_said(self):
        content = json.dumps(results(train_loss=[2.0, None])).replace('"train_acc": [0.3', '"train_acc": [NaN').replace("0.35", "Infinity")
        runs, notes = read(self.file("a.json", content), "a.json")
        self.assertTrue(any("train_loss has 1 of 2 values that are not finite numbers (entry 2): gaps" in note for note in notes))
        self.assertTrue(any("train_acc has 1 of 2 values that are not finite numbers (entry 1)" in note for note in notes))
        curve = groups_of(runs)[0].curve("test_acc")
        self.assertEqual(curve[0], (1, 0.25, None))  # of the seed that has a value there
        self.assertTrue(math.isnan(groups_of(runs)[0].curve("train_loss")[1][1]))

    def test_no_change_of_one_entry_ends_the_program(self):
        """Every entry of a file, one at a time, gone or of another kind: read or refused, never a traceback."""
        files = ["audit/audit_cifar10_resmlp_dfa.json", "cnn_short/bp_s123.json", "snapshot/time_sweep_L4_d256_s42.json"]
        for file in files:
            text = (RESULTS / file).read_text()
            for place in paths(json.loads(text)):
                for other in (None, "x", [], {}, -1, True):
                    content = json.loads(text)
                    put(content, place, other)
                    try:
                        groups_of(read(self.file("a.json", content), "a.json")[0])
                    except Unreadable:
                        pass


def paths(content, depth=2, place=()):
    entries = content.items() if isinstance(content, dict) else enumerate(content[:2]) if isinstance(content, list) else ()
    for key, value in entries:
        yield (*place, key)
        if depth > 1:
            yield from paths(value, depth - 1, (*place, key))


def put(content, place, value):
    for key in place[:-1]:
        content = content[key]
    content[place[-1]] = value


class Writing(InFolder):
    """What is written where: pictures are of any bytes here."""

    def write(self, content, *names):
        pictures = [SimpleNamespace(name=name, png={"light": content, "dark": content}) for name in names]
        return write(self.folder / "out", f"page of {content}", pictures)

    def files(self):
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def test_a_new_report_replaces_the_earlier_one_and_nothing_else(self):
        self.assertEqual(self.write(b"one", "a", "b"), self.folder / "out/report.html")
        self.file("out/notes.txt", "mine")
        self.write(b"two", "b")
        pictures = {f"out/report_pictures/b_{theme}.png": b"two" for theme in ("light", "dark")}
        self.assertEqual(self.files(), {"out/report.html": b"page of b'two'", "out/notes.txt": b"mine", **pictures})
        self.write(b"three")
        self.assertEqual(self.files(), {"out/report.html": b"page of b'three'", "out/notes.txt": b"mine"})
        self.assertFalse((self.folder / "out/report_pictures").exists())

    def test_what_is_no_picture_of_a_report_stays_among_its_pictures(self):
        self.write(b"one", "a")
        self.file("out/report_pictures/mine.png", "mine")
        self.file("out/report_pictures/folder/mine_light.png", "mine too")
        self.write(b"two", "b")
        pictures = {f"out/report_pictures/b_{theme}.png": b"two" for theme in ("light", "dark")}
        kept = {"out/report_pictures/mine.png": b"mine", "out/report_pictures/folder/mine_light.png": b"mine too"}
        self.assertEqual(self.files(), {"out/report.html": b"page of b'two'", **pictures, **kept})
        self.write(b"three")
        self.assertEqual(self.files(), {"out/report.html": b"page of b'three'", **kept})

    def test_a_folder_that_cannot_be_written_to(self):
        self.file("out", "a file")
        with self.assertRaisesRegex(NotWritten, "The report cannot be written to .*/out: .*File exists"):
            self.write(b"one", "a")
        self.assertEqual(self.files(), {"out": b"a file"})

    def test_a_full_disk_leaves_the_earlier_report(self):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        for earlier in (False, True):
            if earlier:
                self.write(b"one", "a")
            before = self.files()
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # bytes of a file: as if the disk were full
            with self.assertRaisesRegex(NotWritten, "The report cannot be written to .*/out: .*File too large"):
                self.write(b"x" * 2000, "a")
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            self.assertEqual(self.files(), before)
            self.assertEqual((self.folder / "out").exists(), earlier)


@draws
class Drawing(InFolder):
    def test_a_report_is_one_page_with_everything_and_pictures_beside_it(self):
        self.file("in/results.json", results())
        made = self.report("-o", "out", "--title", "A <title>", "in")
        self.assertEqual((made.returncode, made.stdout, made.stderr), (0, "report: out/report.html\n", ""))
        page = (self.folder / "out/report.html").read_text()
        for part in ("<h1>A &lt;title&gt;</h1>", "0.6000 ± 0.1414", "prefers-color-scheme: dark", "42 7", "finished", "scroll it sideways"):
            self.assertIn(part, page)
        self.assertNotRegex(page, r'(src|srcset|href)="(?!data:|#)')  # nothing from elsewhere
        svgs = [base64.b64decode(text).decode() for text in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)]
        self.assertTrue(all("</svg>" in svg for svg in svgs))
        pictures = {path.name for path in (self.folder / "out/report_pictures").iterdir()}
        for name in ("test_acc", "train_loss", "gamma", "hidden_norms", "gradient_norms", "cost"):
            self.assertIn(f"{name}_light.png", pictures)
            self.assertIn(f"{name}_dark.png", pictures)
        self.assertEqual(2 * len(re.findall("<figure", page)), len(pictures))
        self.assertEqual(len(svgs), len(pictures))

    def test_the_audit_is_said_in_words(self):
        self.assertEqual(self.report("--no-png", "-o", "out", RESULTS / "audit").returncode, 0)
        page = (self.folder / "out/report.html").read_text()
        self.assertIn("FAIL", page)
        self.assertIn("the rule is 5.17 points below frozen blocks", page)
        self.assertIn("first in epoch 4", page)
        self.assertEqual([path.name for path in (self.folder / "out").iterdir()], ["report.html"])

    def test_figures_of_every_epoch_are_drawn_over_epochs(self):
        content = results()
        content["42"]["dfa"]["by_epoch"] = [{"epoch": epoch, "gamma_block_output": [0.1, 0.2], "hidden_norms_per_layer": [1, 2, 3],
                                             "bp_grad_norms_per_layer": [1, 2, None]} for epoch in (1, 2)]
        self.file("in.json", content)
        self.assertEqual(self.report("-o", "out", "--no-png", "in.json").returncode, 0)
        page = (self.folder / "out/report.html").read_text()
        for name in ("gamma_over_time", "hidden_norms_over_time"):
            self.assertIn(f'<figure id="{name}">', page)

    def test_the_outcome_is_drawn_over_a_setting_with_three_values(self):
        for blocks in (2, 4, 12):
            content = results(test_acc=[0.1, blocks / 100])
            content["config"]["num_blocks"] = blocks
            self.file(f"in/L{blocks}/r.json", content)
        self.assertEqual(self.report("-o", "out", "--no-png", "in").returncode, 0)
        page = (self.folder / "out/report.html").read_text()
        self.assertIn('<figure id="over_setting">', page)
        rows = re.findall(r"<td>(dfa, num_blocks \d+)</td>", page)
        self.assertEqual(rows, ["dfa, num_blocks 2", "dfa, num_blocks 4", "dfa, num_blocks 12"])

    def test_what_cannot_be_read_is_named_and_the_rest_is_drawn(self):
        self.file("in/good.json", results())
        self.file("in/empty.json", "")
        self.file("in/cut.json", json.dumps(results())[:300])
        made = self.report("-o", "out", "--no-png", "in", "nowhere.json")
        self.assertEqual(made.returncode, 1)
        page = (self.folder / "out/report.html").read_text()
        for sentence in ("empty.json: is empty.", "cut.json: is damaged", "nowhere.json: there is no such file."):
            self.assertIn(sentence, made.stderr)
            self.assertIn(sentence, page)

    def test_a_part_that_is_lost_has_an_exit_code_of_its_own(self):
        content = results()
        content["42"]["fa"] = 3
        self.file("in/a.json", content)
        made = self.report("-o", "out", "--no-png", "in")
        self.assertEqual(made.returncode, 3, made.stderr)
        self.assertIn("a.json: seed 42, fa is a number, expected an object; it is left out.", made.stderr)
        self.assertTrue((self.folder / "out/report.html").exists())
        del content["42"]["fa"], content["environment"], content["7"]
        self.file("in/a.json", content)
        made = self.report("-o", "out", "--no-png", "in")
        self.assertEqual((made.returncode, made.stderr), (3, "a.json: seed 7 of config.seeds is not in it, or not run yet.\n"
                                                             "a.json: environment is missing.\n"))
        content["environment"] = {}
        content["42"]["dfa"]["finished"] = False  # a run as it is, none of whose parts is lost
        self.file("in/a.json", content)
        self.assertEqual(self.report("-o", "out", "--no-png", "in").returncode, 0)
        self.file("in/empty.json", "")
        self.assertEqual(self.report("-o", "out", "--no-png", "in").returncode, 1)

    def test_the_audits_threshold_is_labeled_within_the_axes(self):
        from reporting.blocks import norms
        from reporting.style import LIGHT, pyplot
        apart = results()  # hidden states of very different sizes
        apart["42"]["bp"] = {**apart["42"]["dfa"], "diagnostics": {"hidden_norms_per_layer": [1e4, 1e4, 1e4]}}
        path = self.file("a.json", apart)
        axes = norms(LIGHT, groups_of(read(path, "a.json")[0]), "hidden_norms").axes[0]
        notes = [text for text in axes.texts if "D1 fires" in text.get_text()]
        self.assertEqual(len(notes), 1)
        self.assertTrue(axes.get_ylim()[0] < notes[0].xy[1] < axes.get_ylim()[1])
        pyplot.close("all")

    def test_many_lines_have_no_bands_and_longer_swatches(self):
        from reporting.curves import draw
        from reporting.style import LIGHT, pyplot
        for count, bands in ((7, 7), (8, 0)):
            for method in range(count):
                content = results()
                for seed in ("42", "7"):
                    content[seed] = {f"rule_{method}": content[seed]["dfa"]}
                self.file(f"{count}/{method}.json", content)
            runs = [run for path in sorted((self.folder / str(count)).glob("*.json")) for run in read(path, path.name)[0]]
            axes = draw(LIGHT, groups_of(runs), "test_acc").axes[0]
            self.assertEqual(len(axes.collections), bands)
            inches = axes.get_window_extent().width / axes.figure.dpi
            swatches = [line.get_xdata() for line in axes.lines if min(line.get_xdata()) > 1 and not line.get_clip_on() and line.get_linewidth() > 2]
            self.assertEqual(len(swatches), count)
            for x in swatches:
                self.assertAlmostEqual((x[1] - x[0]) * inches, 0.2 if bands else 0.45, 5)
            pyplot.close("all")

    def test_nothing_is_written_if_there_is_nothing_to_draw(self):
        self.file("in/empty.json", "")
        made = self.report("-o", "out", "in")
        self.assertEqual(made.returncode, 2)
        self.assertIn("there is nothing to draw; nothing is written.", made.stderr)
        self.assertFalse((self.folder / "out").exists())

    def test_labels_beside_lines_do_not_overlap(self):
        from reporting.style import spread
        heights = 0.1
        places = spread([(at, heights) for at in (0.0, 0.01, 0.02, 0.5, 0.5, 1.0, 1.0)])
        self.assertTrue(all(b - a > heights - 1e-6 for a, b in zip(places, places[1:])), places)
        self.assertTrue(all(heights / 2 - 1e-6 <= at <= 1 - heights / 2 + 1e-6 for at in places), places)

    def test_every_program_is_drawn(self):
        names = ["schedules_short", "cnn_hour", "snapshot_short", "toy_lq_1000_matched", "performance/credit_cost.json"]
        made = self.report("-o", "out", "--no-png", *(RESULTS / name for name in names))
        self.assertEqual((made.returncode, made.stderr), (0, ""))
        page = (self.folder / "out/report.html").read_text()
        for name in ("test_acc", "costate_cosine", "dl_held", "gamma_over_time", "gamma", "costate_by_block", "hidden_norms", "cost", "memory"):
            self.assertIn(f'<figure id="{name}">', page)


class Usage(InFolder):
    def test_help_and_wrong_flags(self):
        self.assertIn("usage: ./run report", self.report("--help").stdout)
        for arguments, sentence in (([], "name results files"), (["--ouput", "x", "a.json"], "--ouput"), (["-o"], "expected one argument")):
            refused = self.report(*arguments)
            self.assertEqual((refused.returncode, refused.stdout), (2, ""))
            self.assertIn(sentence, refused.stderr)


if __name__ == "__main__":
    os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())
    unittest.main(verbosity=2)
