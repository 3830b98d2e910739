# SPDX-License-Identifier: Apache-2.0
"""Times training as people run it: ./run train against the scripts' loop in Python, each with its defaults, in turns.

    ./run build train_methods
    python bench/whole_run.py --data-dir FOLDER --json docs/results/performance/whole_run.json

FOLDER holds cifar-10-batches-bin. One run is one epoch of one method on the residual MLP (d=256, L=4, batch 128), data in memory on both
sides; what is timed is the loop over batches, with making them and without loading and evaluation. Threads and waiting are each side's own:
--threads auto of ours, PyTorch's own number there. Exit codes: 0; 1 where a run fails; 2 for wrong flags.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from contest import machine, markdown, quartiles, write_json

ROOT = Path(__file__).resolve().parent.parent
BATCH = 128


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/examples/train_methods")
    parser.add_argument("--methods", nargs="+", choices=["bp", "fa", "dfa"], default=["bp", "dfa"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit-train", type=int, default=50_000, help="train on the first N images only")
    parser.add_argument("--json", type=Path, help="also write times and ratios here")
    args = parser.parse_args()
    if args.rounds < 1 or not 1 <= args.limit_train <= 50_000:
        parser.error("--rounds must be at least 1, and --limit-train from 1 to 50000")
    if not args.program.is_file():
        parser.error(f"--program {args.program} is not there: ./run build train_methods")
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    return args


def ran(command):
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(word) for word in command)}: exit code {done.returncode}\n{done.stderr.strip()}")


def ours(method, args, folder):
    """ms per step, and the threads that --threads auto chose."""
    ran([args.program, "--data-dir", args.data_dir, "--methods", method, "--seeds", "42", "--epochs", "1", "--limit-train", args.limit_train,
         "--output_dir", folder, "--quiet"])
    entry = json.loads((Path(folder) / "results_cifar10.json").read_text())["42"][method]
    return entry["ms_per_step"], entry["environment"]["threads"]


def scripts(method, args, folder):
    """ms per step."""
    output = Path(folder) / "scripts.json"
    ran([sys.executable, ROOT / "tests/reference/train_cifar.py", "--data-dir", args.data_dir, "--methods", method, "--epochs", "1",
         "--limit-train", args.limit_train, "--threads", "0", "--output", output])
    entry = json.loads(output.read_text())["42"][method]
    return 1e3 * entry["log"]["seconds"][0] / math.ceil(args.limit_train / BATCH)


def main():
    args = arguments()
    about = machine(len(os.sched_getaffinity(0)))
    about["threads"] = "each side's default"
    times, chosen = {(who, method): [] for who in ("creditlib", "scripts") for method in args.methods}, {method: [] for method in args.methods}
    order = random.Random(0)
    for index in range(args.rounds):
        for who, method in order.sample(sorted(times), len(times)):
            with tempfile.TemporaryDirectory() as folder:
                if who == "scripts":
                    ms = scripts(method, args, folder)
                else:
                    ms, threads = ours(method, args, folder)
                    chosen[method].append(threads)
            times[who, method].append(ms)
            print(f"round {index + 1}/{args.rounds}: {who} {method} {ms:.2f} ms per step", flush=True)
    rows, result = [], {"machine": about, "settings": {"rounds": args.rounds, "limit_train": args.limit_train}, "methods": {}}
    for method in args.methods:
        mine, theirs = times["creditlib", method], times["scripts", method]
        low, _, high = quartiles([a / b for a, b in zip(mine, theirs)])
        ratio = statistics.median(mine) / statistics.median(theirs)
        result["methods"][method] = {"creditlib_ms": mine, "scripts_ms": theirs, "threads": chosen[method], "ratio": ratio, "quartiles": [low, high]}
        rows.append([method, f"{statistics.median(mine):.2f}", f"{statistics.median(theirs):.2f}", f"{ratio:.2f} ({low:.2f}..{high:.2f})",
                     " ".join(str(n) for n in chosen[method])])
    print(f"\n{about['cpu']}, {about['affinity']} cores; commit {about['commit']}\n")
    print(markdown(["method", "./run train, ms per step", "the scripts' loop", "ratio (quartiles)", "threads that auto chose"], rows))
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
