# SPDX-License-Identifier: Apache-2.0
"""What creditlib costs to compile: seconds and peak memory of single translation units, without a precompiled header.

    python bench/compile_time.py [--libtorch FOLDER] [--compiler c++] [--flags=-O0] [--repeat 3] [--units NAME...] [--json FILE]

"LibTorch for trainer + DFA" includes what creditlib's headers for a trainer with DFA include from elsewhere, and nothing of
creditlib: the least that such a program can cost. Of several repetitions the fastest counts.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = ROOT / "include"

DFA = ["creditlib/credit/dfa.hpp"]
TRAINER = ["creditlib/credit/dfa.hpp", "creditlib/local_trainer.hpp", "creditlib/model/residual_mlp.hpp"]
STEP = """
int main() {
  auto model = creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2});
  creditlib::LocalTrainer trainer(model, creditlib::DFA{});
  trainer.step(torch::randn({2, 8}), torch::tensor({0, 2}));
}
"""


def included_from_elsewhere(headers):
    """The headers outside creditlib that these headers of creditlib include, themselves or through others."""
    seen, left, elsewhere = set(), list(headers), []
    while left:
        header = left.pop()
        if header in seen:
            continue
        seen.add(header)
        for included in re.findall(r"^\s*#\s*include\s*[<\"]([^>\"]+)[>\"]", (INCLUDE / header).read_text(), re.MULTILINE):
            if included.startswith("creditlib/"):
                left.append(included)
            elif included not in elsewhere:
                elsewhere.append(included)
    return sorted(elsewhere)


def text_of(headers, rest="int main() {}\n"):
    return "".join(f"#include <{header}>\n" for header in headers) + rest


UNITS = {
    "torch/torch.h": lambda: text_of(["torch/torch.h"]),
    "umbrella": lambda: text_of(["creditlib/creditlib.hpp"]),
    "DFA": lambda: text_of(DFA),
    "LibTorch for trainer + DFA": lambda: text_of(included_from_elsewhere(TRAINER)),
    "trainer + DFA": lambda: text_of(TRAINER),
    "trainer + DFA, a step": lambda: text_of(TRAINER, STEP),
}


def libtorch_folder(named):
    """The folder with include/ and lib/: the one that is named, or the wheel in .venv."""
    places = [named] if named else sorted((ROOT / ".venv").glob("lib/python3*/site-packages/torch"))
    for place in places:
        if (pathlib.Path(place) / "include/torch/csrc/api/include/torch/torch.h").exists():
            return pathlib.Path(place)
    sys.exit("There is no LibTorch in " + (named or ".venv") + "; name one with --libtorch or CREDITLIB_LIBTORCH.")


def measured(command):
    """(wall seconds, processor seconds, MB) of a command that must succeed."""
    start = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit("failed: " + " ".join(command))
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--libtorch", default=os.environ.get("CREDITLIB_LIBTORCH"))
    parser.add_argument("--compiler", default=os.environ.get("CXX", "c++"))
    parser.add_argument("--flags", default="-O0", help="flags of the compiler, in one word: --flags='-O2 -g'")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--units", nargs="+", choices=UNITS, default=list(UNITS), metavar="NAME", help=", ".join(UNITS))
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()

    libtorch = libtorch_folder(arguments.libtorch)
    command = [arguments.compiler, "-std=c++20", *arguments.flags.split(), "-DCREDITLIB_WITH_ZLIB", f"-I{INCLUDE}",
               "-isystem", str(libtorch / "include"), "-isystem", str(libtorch / "include/torch/csrc/api/include")]
    version = subprocess.run([arguments.compiler, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]

    rows = {}
    print(f"{version}, {arguments.flags}")
    print(f"{'translation unit':28} {'seconds':>8} {'processor s':>12} {'MB':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.units:
            unit = pathlib.Path(folder) / "unit.cpp"
            unit.write_text(UNITS[name]())
            runs = [measured([*command, "-c", str(unit), "-o", os.path.join(folder, "unit.o")]) for _ in range(arguments.repeat)]
            wall, processor, megabytes = min(runs, key=lambda run: run[1])
            rows[name] = {"seconds": round(wall, 2), "processor_seconds": round(processor, 2), "megabytes": round(megabytes)}
            print(f"{name:28} {wall:8.2f} {processor:12.2f} {megabytes:7.0f}", flush=True)

    alone, trainer = rows.get("LibTorch for trainer + DFA"), rows.get("trainer + DFA")
    if alone and trainer:
        more = trainer["processor_seconds"] / alone["processor_seconds"] - 1
        print(f"trainer + DFA takes {100 * more:.0f} % more processor time than what it needs of LibTorch")
    if arguments.json:
        result = {"compiler": version, "flags": arguments.flags, "repeat": arguments.repeat, "units": rows}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
