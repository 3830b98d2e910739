#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/sweep, with a stand-in for a program."""
import csv
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
sys.dont_write_bytecode = True

try:
    import tomllib  # noqa: F401
except ImportError:
    try:
        import tomli  # noqa: F401
    except ImportError:
        print("skipped: this Python has neither tomllib (3.11) nor tomli; ./run sweep installs it into .venv")
        sys.exit(0)

# As CLI11 lists flags. It notes that it was started in the file `starts`, and writes results as train_methods does.
PROGRAM = '''#!{python}
import json, os, signal, sys, time
HELP = """A stand-in.
Usage: train [OPTIONS]

Options:
  -h,--help                   Print this help message and exit
  --arch TEXT:{{resmlp,cnn}}=resmlp
                              the network
  --num_blocks,--num-blocks INT:a whole number >= 1=4
                              L
  --penalty_lam,--penalty-lam FLOAT:FLOAT >= 0=0
  --part FLOAT:FLOAT > 0:FLOAT in [0 - 1]=0.2
  --config TEXT:FILE          read flags from this file
  --methods TEXT:{{bp,dfa,fa}}=bp dfa ...
                              methods
  --seeds INT=42 123 ...      one run of each method per seed
  --fail_at,--fail-at INT     fails at these blocks
  --slow                      takes its time, until there is a file `fast`
  --deaf                      does not end when it is asked to
  --output_dir,--output-dir TEXT=results
  --threads TEXT:auto or a whole number >= 1=auto
  --retrain                   replace the results
"""
words, given = sys.argv[1:], {{}}
if "--help" in words:
    print(HELP)
    sys.exit(0)
for word in words:
    if word.startswith("--"):
        name = word[2:]
        given[name] = []
    else:
        given[name].append(word)
blocks, folder = int(given.get("num_blocks", [4])[0]), given["output_dir"][0]
with open(os.path.join(os.path.dirname(__file__), "starts"), "a") as file:
    file.write(f"{{blocks}} threads {{given['threads'][0]}} {{os.environ['OMP_NUM_THREADS']}} {{' '.join(words)}}\\n")
stopped = []
signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
if given.get("fail_at") == [str(blocks)]:
    print("train: the loss is NaN at epoch 1.", file=sys.stderr)
    print("train --help lists the flags.", file=sys.stderr)
    sys.exit(1)
os.makedirs(folder, exist_ok=True)
def entry(finished):
    return {{"log": {{"train_loss": [2.0, 1.0], "train_acc": [.1, .2], "test_acc": [0.1, blocks / 10]}}, "ms_per_step": 2.0,
             "diagnostics": {{"gamma_block_output": [0.5] * blocks}}, "steps": 4, "finished": finished}}
def write(finished):
    content = {{seed: {{method: entry(finished) for method in given.get("methods", ["dfa"])}} for seed in given.get("seeds", ["42"])}}
    content["config"] = {{"arch": "resmlp", "methods": ["dfa"], "epochs": 2, "num_blocks": blocks}}
    path = os.path.join(folder, "results_digits.json")
    with open(path + ".new", "w") as file:
        json.dump(content, file)
    os.rename(path + ".new", path)
if "slow" in given:
    write(False)
    for _ in range(1000):
        if os.path.exists(os.path.join(os.path.dirname(__file__), "fast")):
            break
        time.sleep(0.02)
        if stopped and "deaf" not in given:
            print("train: stopped; the results so far are written.", file=sys.stderr)
            sys.exit(130)
write(True)
'''


class Sweep(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name).resolve()
        self.program = self.folder / "programs" / "train"
        self.program.parent.mkdir()
        self.program.write_text(PROGRAM.format(python=sys.executable))
        self.program.chmod(0o755)
        self.environment = {**os.environ, "CREDITLIB_PROGRAMS": str(self.program.parent)}

    def command(self, text, *arguments):
        (self.folder / "s.toml").write_text(text)
        return [sys.executable, ROOT / "tools" / "sweep", "s.toml", *arguments]

    def sweep(self, text, *arguments, report=False):
        if not report:
            arguments = ("--no-report", *arguments)
        return subprocess.run(self.command(text, *arguments), capture_output=True, text=True, cwd=self.folder, env=self.environment)

    def done(self, text, *arguments, **options):
        made = self.sweep(text, *arguments, **options)
        self.assertEqual(made.returncode, 0, made.stderr)
        return made.stdout

    def assert_refused(self, sentence, text, *arguments):
        refused = self.sweep(text, *arguments)
        self.assertEqual((refused.returncode, refused.stdout), (2, ""), refused.stderr)
        self.assertIn(sentence, refused.stderr)
        self.assertNotIn("Traceback", refused.stderr)
        self.assertEqual(self.starts(), [])
        self.assertFalse((self.folder / "results").exists())

    def starts(self):
        file = self.program.parent / "starts"
        return file.read_text().splitlines() if file.exists() else []

    def files(self):
        return sorted(path.relative_to(self.folder / "results").as_posix() for path in (self.folder / "results").rglob("*") if path.is_file())

    GRID = 'program = "train"\n[flags]\nmethods = ["bp", "dfa"]\n[grid]\nnum_blocks = [2, 4]\npenalty_lam = [0, 1e-2]\n'

    def test_a_grid_runs_each_combination_and_ends_with_a_table(self):
        said = self.done(self.GRID, "--processes", "2")
        self.assertIn("4 cells, 0 of them finished; 2 at once", said)
        self.assertEqual(len(self.starts()), 4)
        folder = "results/sweeps/s/num_blocks=4,penalty_lam=0.01"
        self.assertTrue(any(f"--methods bp dfa --num_blocks 4 --penalty_lam 0.01 --output_dir {folder} --threads" in line
                            for line in self.starts()), self.starts())
        with open(self.folder / "results/sweeps/s/sweep_results.csv") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 8)
        self.assertEqual({(row["num_blocks"], row["penalty_lam"], row["method"]) for row in rows},
                         {(b, p, m) for b in "24" for p in ("0", "0.01") for m in ("bp", "dfa")})
        self.assertEqual({row["test accuracy"] for row in rows if row["num_blocks"] == "4"}, {"0.4"})
        self.assertEqual({row["state"] for row in rows}, {"finished"})
        self.assertGreater(float(rows[0]["peak memory, MB"]), 1)
        text = (self.folder / "results/sweeps/s/sweep_results.md").read_text()
        self.assertIn("| 4 | 0.01 | dfa | 42 | 0.4 | 0.5 | 2 |", text)

    def test_finished_cells_are_kept_and_the_rest_is_run(self):
        self.done(self.GRID)
        self.assertIn("4 cells, 4 of them finished", self.done(self.GRID))
        self.assertEqual(len(self.starts()), 4)
        more = self.GRID.replace("[2, 4]", "[2, 4, 6]")
        self.assertIn("6 cells, 4 of them finished", self.done(more))
        self.assertEqual(len(self.starts()), 6)
        os.remove(self.folder / "results/sweeps/s/num_blocks=2,penalty_lam=0/results_digits.json")
        self.assertIn("6 cells, 5 of them finished", self.done(more))
        self.done(more, "--retrain")
        self.assertEqual(len(self.starts()), 13)
        self.assertIn("--retrain", self.starts()[-1])

    def test_a_damaged_results_file_is_made_again(self):
        self.done(self.GRID)
        damaged = self.folder / "results/sweeps/s/num_blocks=4,penalty_lam=0/results_digits.json"
        damaged.write_text(damaged.read_text()[:100])
        for arguments in (["--dry-run"], []):
            said = self.done(self.GRID, *arguments)
            self.assertIn("4 cells, 3 of them finished", said)
            self.assertIn("num_blocks=4,penalty_lam=0: results_digits.json is damaged: it ends early, in line 1, column ", said)
        self.assertEqual(len(self.starts()), 5)
        self.assertTrue(self.starts()[-1].endswith("--retrain"), self.starts()[-1])
        json.loads(damaged.read_text())
        self.assertIn("4 cells, 4 of them finished", self.done(self.GRID))

    def test_a_folder_that_cannot_be_written_to(self):
        (self.folder / "file").touch()
        self.assert_refused("Results cannot be written to file/out: Not a directory. Name another --output.", self.GRID, "-o", "file/out")

    def test_results_of_other_settings_are_not_mixed(self):
        self.done(self.GRID)
        refused = self.sweep(self.GRID.replace('["bp", "dfa"]', '["fa"]'))
        self.assertEqual(refused.returncode, 2)
        self.assertIn("has results of other settings: --methods bp dfa", refused.stderr)
        self.assertEqual(len(self.starts()), 4)

    def test_a_list_of_cells_and_seeds_over_cells(self):
        text = ('program = "train"\noutput = "results/mine"\nprocesses = 1\nthreads = 3\n[[cells]]\nnum_blocks = 2\n[[cells]]\nnum_blocks = 3\n'
                'methods = ["fa"]\n[grid]\nseeds = [1, 2]\n')
        self.assertIn("4 cells, 0 of them finished; 1 at once, 3 threads each", self.done(text))
        self.assertEqual({line.split("--")[0] for line in self.starts()}, {"2 threads 3 3 ", "3 threads 3 3 "})
        self.assertTrue((self.folder / "results/mine/num_blocks=3,methods=fa,seeds=2/results_digits.json").exists())
        self.assertIn("| 3 | fa | fa | 1 2 | 0.3000 ± 0.0000 |", (self.folder / "results/mine/sweep_results.md").read_text())

    def test_flags_for_all_cells(self):
        self.done(self.GRID, "-o", "results/other", "--", "--methods", "fa", "bp", "--seeds=7", "--deaf")
        self.assertIn("--methods fa bp --seeds 7 --deaf --num_blocks 2", self.starts()[0])
        self.assertTrue((self.folder / "results/other/sweep_results.md").exists())

    def test_a_failed_cell_says_why_and_the_rest_goes_on(self):
        made = self.sweep(self.GRID.replace("[flags]", "[flags]\nfail_at = 2"))
        self.assertEqual(made.returncode, 1)
        self.assertIn("num_blocks=2,penalty_lam=0: FAILED, exit code 1: train: the loss is NaN at epoch 1. (results/sweeps/s/num_blocks=2", made.stdout)
        self.assertIn("2 of 4 cells failed: num_blocks=2,penalty_lam=0", made.stderr)
        self.assertEqual(len(self.starts()), 4)
        text = (self.folder / "results/sweeps/s/sweep_results.md").read_text()
        self.assertIn("exit code 1: train: the loss is NaN at epoch 1.", text)
        self.assertIn("| 4 | 0 | dfa |", text)

    def running(self, flags="slow = true"):
        """A sweep of which two cells run."""
        text = self.GRID.replace("[flags]", f"[flags]\n{flags}")
        process = subprocess.Popen(self.command(text, "--no-report", "--processes", "2"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.folder, env=self.environment)
        for _ in range(1000):
            if len(list((self.folder / "results").rglob("results_digits.json"))) == 2:
                return process
            time.sleep(0.02)
        self.fail("no cells run: " + process.communicate()[0])

    def stopped(self, number):
        process = self.running()
        process.send_signal(number)
        said = process.communicate(timeout=60)[0]
        return process.returncode, said

    def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(self):
        code, said = self.stopped(signal.SIGINT)
        self.assertEqual(code, 130, said)
        self.assertIn("num_blocks=2,penalty_lam=0: stopped; what it has is kept", said)
        self.assertEqual(len(self.starts()), 2)
        records = [json.loads(path.read_text()) for path in (self.folder / "results").rglob("sweep_cell.json")]
        self.assertEqual([(record["exit_code"], record["finished"]) for record in records], [(130, False)] * 2)
        self.assertEqual([name for name in self.files() if name.endswith(".new")], [])
        text = (self.folder / "results/sweeps/s/sweep_results.md").read_text()
        self.assertIn("stopped", text)
        self.assertIn("not run yet", text)
        (self.program.parent / "fast").touch()
        self.assertIn("4 cells, 0 of them finished", self.sweep(self.GRID.replace("[flags]", "[flags]\nslow = true")).stdout)
        self.assertEqual(len(self.starts()), 6)

    def test_so_does_sigterm(self):
        self.assertEqual(self.stopped(signal.SIGTERM)[0], 143)

    def test_ctrl_c_twice_ends_programs_that_do_not_stop(self):
        process = self.running("slow = true\ndeaf = true")
        process.send_signal(signal.SIGINT)
        self.assertIn("2 at once", process.stdout.readline())
        self.assertIn("stopping; running cells finish their step", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        records = [json.loads(path.read_text()) for path in (self.folder / "results").rglob("sweep_cell.json")]
        self.assertEqual([record["exit_code"] for record in records], [-9, -9])

    def test_two_sweeps_do_not_share_a_folder(self):
        import fcntl
        (self.folder / "out").mkdir()
        with open(self.folder / "out/.sweep.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assert_refused("Another sweep is running in out.", self.GRID, "-o", "out")

    def test_a_dry_run_runs_nothing(self):
        said = self.done(self.GRID, "--dry-run")
        self.assertEqual(said.count("--output_dir results/sweeps/s/num_blocks="), 4)
        self.assertIn("1 at once, 1 thread each", self.done(self.GRID, "--dry-run", "--processes", "1", "--threads", "1"))
        words = shlex.split(self.done(self.GRID, "--dry-run", "-o", "my results").splitlines()[1])
        self.assertEqual(words[words.index("--output_dir") + 1], "my results/num_blocks=2,penalty_lam=0")
        self.assertEqual(self.starts(), [])
        self.assertFalse((self.folder / "results").exists())

    def test_the_report_has_the_cells(self):
        self.done(self.GRID, report=True)
        page = self.folder / "results/sweeps/s/report.html"
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            self.assertFalse(page.exists())
            self.skipTest("there is no matplotlib; ./run report installs it into .venv")
        self.assertIn("dfa, num_blocks 4", page.read_text())
        self.assertIn('<figure id="memory">', page.read_text())

    def test_files_that_are_refused(self):
        grid = "[grid]\nnum_blocks = [2]\n"
        self.assert_refused("s.toml is not TOML: ", 'program = "train\n')
        self.assert_refused("has no program", grid)
        self.assert_refused("line 1: there is no program", 'program = "trian"\n' + grid)
        self.assert_refused("has no cell: it needs a table [grid]", 'program = "train"\n[flags]\nnum_blocks = 2\n')
        self.assert_refused("line 2: there is no key grit (did you mean grid?)", 'program = "train"\n[grit]\nnum_blocks = [2]\n')
        self.assert_refused("line 1: program is 3, expected text.", "program = 3\n" + grid)
        self.assert_refused("line 2: processes is \"two\", expected a whole number.", 'program = "train"\nprocesses = "two"\n' + grid)
        self.assert_refused("line 2: threads is 0, expected a whole number >= 1.", 'program = "train"\nthreads = 0\n' + grid)
        self.assert_refused("line 4: train has no flag --num_block (did you mean num_blocks?)", 'program = "train"\n\n[grid]\nnum_block = [2]\n')
        self.assert_refused("line 5: train has no flag --penalty (did you mean", 'program = "train"\n' + grid + "[flags]\npenalty = 1\n")
        self.assert_refused("line 6: train has no flag --foo", 'program = "train"\n[[cells]]\nnum_blocks = 2\n\n[[cells]]\nfoo = 1\n')
        self.assert_refused("line 3: num_blocks is 2, expected a list of values to try.", 'program = "train"\n[grid]\nnum_blocks = 2\n')
        self.assert_refused("line 3: train has no flag --num_block (did you mean num_blocks?)", 'program = "train"\n[grid]\nnum_block = 2\n')
        self.assert_refused("line 1: there is no program", 'program = "trian"\n' + grid)
        self.assert_refused("(did you mean train?)", 'program = "trian"\n' + grid)
        self.assert_refused("line 3: num_blocks has 0, expected a whole number >= 1.", 'program = "train"\n[grid]\nnum_blocks = [2, 0]\n')
        self.assert_refused("line 3: penalty_lam is -0.1, expected a number >= 0.", 'program = "train"\n[flags]\npenalty_lam = -0.1\n' + grid)
        self.assert_refused("line 3: penalty_lam is nan, expected a finite number.", 'program = "train"\n[flags]\npenalty_lam = nan\n' + grid)
        self.assert_refused("line 3: part is 0, expected a number > 0 and >= 0 and <= 1.", 'program = "train"\n[flags]\npart = 0\n' + grid)
        self.assert_refused("line 3: part is 1.5, expected a number > 0 and >= 0 and <= 1.", 'program = "train"\n[flags]\npart = 1.5\n' + grid)
        self.assert_refused("config is not set here: it is this file", 'program = "train"\n[flags]\nconfig = "a.toml"\n' + grid)
        self.assert_refused("line 3: num_blocks is [], expected a list", 'program = "train"\n[grid]\nnum_blocks = []\n')
        self.assert_refused('line 3: num_blocks has "two", expected a whole number.', 'program = "train"\n[grid]\nnum_blocks = [1, "two"]\n')
        self.assert_refused("num_blocks has 2.5, expected a whole number.", 'program = "train"\n[grid]\nnum_blocks = [2.5]\n')
        self.assert_refused('penalty_lam is "0.1", expected a number.', 'program = "train"\n[flags]\npenalty_lam = "0.1"\n' + grid)
        self.assert_refused('line 3: arch is "cnm", expected one of resmlp, cnn.', 'program = "train"\n[flags]\narch = "cnm"\n' + grid)
        self.assert_refused("arch is a list, expected one value.", 'program = "train"\n[flags]\narch = ["cnn"]\n' + grid)
        self.assert_refused("slow is 1, expected true or false.", 'program = "train"\n[flags]\nslow = 1\n' + grid)
        self.assert_refused("output_dir is not set here: it is output, at the top", 'program = "train"\n[flags]\noutput_dir = "x"\n' + grid)
        self.assert_refused("num_blocks is in [flags] and in [grid]", 'program = "train"\n[flags]\nnum_blocks = 2\n' + grid)
        self.assert_refused("Cells 1 and 2 of s.toml are the same", 'program = "train"\n[grid]\nnum_blocks = [2, 2]\n')

    def test_flags_that_are_refused(self):
        self.assert_refused("train has no flag --method (did you mean methods?); train --help lists them.", self.GRID, "--", "--method", "bp")
        self.assert_refused("--num_blocks varies in s.toml", self.GRID, "--", "--num-blocks", "3")
        self.assert_refused("--seeds is \"x\", expected a whole number.", self.GRID, "--", "--seeds", "x")
        self.assert_refused("7 belongs to no flag: after -- come flags of train", self.GRID, "--", "7")
        self.assert_refused("--penalty_lam is -1, expected a number >= 0.", self.GRID.replace("penalty_lam = [0, 1e-2]", ""), "--", "--penalty-lam", "-1")
        self.assert_refused("--threads is not given to the program", self.GRID, "--", "--threads", "2")
        self.assert_refused("--arch is one value too many.", self.GRID, "--", "--arch", "cnn", "cnn")
        self.assert_refused("is 0, expected a whole number >= 1", self.GRID, "--processes", "0")
        self.assert_refused("--procesess", self.GRID, "--procesess", "2")

    def test_the_ready_files_are_sweeps_of_flags_that_train_methods_has(self):
        """That it has them is asked of the program, if CREDITLIB_PROGRAMS has it."""
        from sweeping.plan import File
        files = sorted((ROOT / "examples" / "sweeps").glob("*.toml"))
        self.assertEqual([path.stem for path in files], ["depth", "penalty", "width"])
        for path in files:
            self.assertEqual(File(path).program, "train_methods")
        programs = os.environ.get("CREDITLIB_PROGRAMS", "")
        if (pathlib.Path(programs) / "train_methods").is_file():
            for path in files:
                made = subprocess.run([sys.executable, ROOT / "tools" / "sweep", path, "--dry-run"], capture_output=True, text=True)
                self.assertEqual(made.returncode, 0, made.stderr)

    def test_usage(self):
        said = subprocess.run([sys.executable, ROOT / "tools" / "sweep", "--help"], capture_output=True, text=True)
        self.assertIn("usage: ./run sweep FILE.toml", said.stdout)
        refused = subprocess.run([sys.executable, ROOT / "tools" / "sweep"], capture_output=True, text=True)
        self.assertEqual((refused.returncode, refused.stderr), (2, "sweep: name a sweep's file; ./run sweep --help says more.\n"))
        self.assertEqual(self.done(self.GRID.replace('"train"', '"train_methods"'), "--program"), "train_methods\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
