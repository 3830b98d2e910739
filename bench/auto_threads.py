# SPDX-License-Identifier: Apache-2.0
"""Whether --threads auto takes the better of one thread and all: train_methods with each of the three, in turns, on every network.

    ./run build train_methods
    python bench/auto_threads.py --data-dir FOLDER --json docs/results/performance/auto_threads.json

FOLDER holds cifar-10-batches-bin; the digits are embedded. One run is one epoch on as many images as the network's steps are short. "to the
better" is the ratio of auto's median to the smaller of the other two; "all to one" is what a second core brings to the whole loop. Exit codes:
0; 1 if a run fails; 2 for wrong flags.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from contest import machine, quartiles, write_json
from tables import auto_threads_table

ROOT = Path(__file__).resolve().parent.parent
BATCH = 128
STEPS = {"resmlp": 160, "resmlp_d512_L2": 80, "cnn": 10, "resnet": 4, "vit": 6}  # of a run on CIFAR-10
DIGITS = {"resmlp": 1}  # networks that take the digits


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/examples/train_methods")
    parser.add_argument("--networks", nargs="+", choices=sorted(STEPS), default=list(STEPS))
    parser.add_argument("--methods", nargs="+", default=["bp", "dfa"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write times and ratios here")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    if not args.program.is_file():
        parser.error(f"--program {args.program} is not there: ./run build train_methods")
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    return args


def run(data, network, method, threads, args):
    """ms per step, and the threads that were taken."""
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as folder:
        command = [args.program, "--dataset", data, "--arch", network, "--methods", method, "--seeds", 42, "--threads", threads,
                   "--output_dir", folder, "--quiet"]
        if data == "digits":
            command += ["--epochs", 20]
        else:
            command += ["--data-dir", args.data_dir, "--epochs", 1, "--limit-train", BATCH * STEPS[network]]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            sys.exit(f"{' '.join(str(word) for word in command)}: exit code {done.returncode}\n{done.stderr.strip()}")
        entry = json.loads((Path(folder) / f"results_{data}.json").read_text())["42"][method]
    return entry["ms_per_step"], entry["environment"]["threads"]


def main():
    args = arguments()
    cores = len(os.sched_getaffinity(0))
    about = machine(cores)
    about["threads"] = "auto, 1 and all"
    kinds = [(data, network, method) for data in ("digits", "cifar10") for network in args.networks
             if data == "cifar10" or network in DIGITS for method in args.methods]
    rows, order = [], random.Random(0)
    for data, network, method in kinds:
        times, chosen = {"auto": [], "1": [], str(cores): []}, []
        for _ in range(args.rounds):
            for threads in order.sample(sorted(times), len(times)):
                ms, taken = run(data, network, method, threads, args)
                times[threads].append(ms)
                if threads == "auto":
                    chosen.append(taken)
        one, all_, auto = (statistics.median(times[threads]) for threads in ("1", str(cores), "auto"))
        low, _, high = quartiles([a / b for a, b in zip(times[str(cores)], times["1"])])
        rows.append({"data": data, "network": network, "method": method, "one_ms": one, "all_ms": all_, "auto_ms": auto, "chosen": chosen,
                     "auto_to_better": auto / min(one, all_), "all_to_one": {"ratio": all_ / one, "quartiles": [low, high]}})
        print(f"{data} {network} {method}: one {one:.2f} ms, all {all_:.2f}, auto {auto:.2f} ({' '.join(map(str, chosen))})", flush=True)
    print(f"\n{about['cpu']}, {about['affinity']} cores; commit {about['commit']}\n")
    print(auto_threads_table(rows))
    if args.json:
        write_json(args.json, {"machine": about, "settings": {"rounds": args.rounds}, "rows": rows})


if __name__ == "__main__":
    main()
