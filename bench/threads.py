# SPDX-License-Identifier: Apache-2.0
"""What more threads bring: steps by formula and PyTorch's back-propagation on one thread and on several, in one contest.

    ./run build bench_steps bench_floor
    python bench/threads.py --json docs/results/performance/threads.json

strong   the same batch on every number of threads
weak     a batch for each thread
OpenMP's threads wait as they do by default; who is not at turn is stopped (contest.py). The speed-up is the ratio of medians, its quartiles
those of the rounds' own ratios; efficiency is the speed-up per thread. Amdahl's law, fitted to one thread and the largest number measured,
gives what more cores would do at most. Exit codes: 0; 1 where something was not measured; 2 for wrong flags; 77 without a torch.
"""

import argparse
import os
import sys
from pathlib import Path

from contest import Called, Served, contest, machine, program_in, write_json
from tables import thread_table

ROOT = Path(__file__).resolve().parent.parent
RULES = ["bp", "fa", "dfa"]
SIZES = [(256, 4), (512, 2)]
PREDICTED = [4, 16, 64]


def arguments():
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, default=ROOT / "build/release/bench", help="the folder of steps and floor")
    doubled = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= cores]
    parser.add_argument("--threads", nargs="+", type=int, default=doubled, help="numbers of threads; 1 is always among them")
    parser.add_argument("--matmul", choices=["mkl", "onednn"], default="mkl")
    parser.add_argument("--batch", type=int, default=128, help="rows; of weak scaling, for each thread")
    parser.add_argument("--rounds", type=int, default=20, help="counted rounds")
    parser.add_argument("--steps", type=int, default=20, help="steps per turn")
    parser.add_argument("--json", type=Path, help="also write settings, times and ratios here")
    args = parser.parse_args()
    for name in ("batch", "rounds", "steps"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(args, name)}")
    args.threads = sorted({1, *args.threads})
    if args.threads[0] < 1 or args.threads[-1] > cores:
        parser.error(f"--threads: there are {cores} cores for this process, expected numbers from 1 to that")
    args.program = {name: program_in(args.programs, name, parser) for name in ("steps", "floor")}
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    return args


def contestants_of(width, blocks, args, weak):
    """By name: who/rule/threads."""
    import pytorch_steps
    import torch

    shape = {"model": "resmlp", "width": width, "blocks": blocks, "matmul": args.matmul}
    options = pytorch_steps.options_of(width, blocks, 10, True)
    contestants = {}
    for threads in args.threads:
        batch = args.batch * (threads if weak else 1)
        for rule in RULES:
            contestants[f"creditlib/{rule}/{threads}"] = Served(args.program["steps"], threads, rule=rule, path="closed_form", batch=batch, **shape)
        if not weak and threads == 1:
            for rule in [*RULES, "adamw"]:
                contestants[f"floor/{rule}/1"] = Served(args.program["floor"], 1, rule=rule, batch=batch, **shape)
        batches = [(torch.randn(batch, 3072), torch.randint(10, (batch,))) for _ in range(8)]

        def before(threads=threads):
            torch.set_num_threads(threads)
            pytorch_steps.use_matmul(args.matmul)

        contestants[f"pytorch/bp/{threads}"] = Called(lambda: pytorch_steps.trainer_of("bp", options).step, batches, before=before)
    return contestants


def scaled(outcome, who, args, weak):
    """The rows of one contestant: its times, and against its own on one thread."""
    base, rows = f"{who}/1", []
    for threads in args.threads:
        name = f"{who}/{threads}"
        if name not in outcome or base not in outcome:
            continue
        to_one = outcome.ratio(name, base)
        speed_up = (threads if weak else 1) / to_one["ratio"]
        row = {"who": who, "threads": threads, **outcome.summary(name), "to_one_thread": to_one, "efficiency": speed_up / threads}
        same = f"pytorch/bp/{threads}"
        if who != "pytorch/bp" and same in outcome:
            row["to_pytorch_bp"] = outcome.ratio(name, same)
        if threads == 1 and not weak and who.startswith("creditlib/"):
            rule = who.partition("/")[2]
            row["to_floor"] = outcome.ratio(name, f"floor/{rule}/1", "floor/adamw/1")
        rows.append(row)
    return rows


def serial_part(one, several, threads):
    """Of Amdahl's law, T(n) = T(1) (s + (1 - s) / n), through the times on one thread and on `threads`."""
    return (several / one - 1 / threads) / (1 - 1 / threads)


def main():
    args = arguments()
    os.environ.pop("OMP_WAIT_POLICY", None)
    try:
        import torch
    except (ImportError, OSError, ValueError) as error:
        print(f"No PyTorch to compare with: {error}. CREDITLIB_TORCH=full ./run setup installs it.", file=sys.stderr)
        sys.exit(77)
    about = machine(args.threads[-1]) | {"torch": torch.__version__}
    about["threads"] = args.threads
    print(f"{about['cpu']}, {about['cores']} cores, {about['affinity']} of them for this process; waiting: {about['waiting']}; "
          f"commit {about['commit']}")
    result = {"machine": about, "settings": {name: getattr(args, name) for name in ("matmul", "batch", "rounds", "steps")}, "tables": {}}
    failed = False
    for width, blocks in SIZES:
        for weak in (False, True):
            if weak and len(args.threads) == 1:
                continue
            outcome = contest(contestants_of(width, blocks, args, weak), args.rounds, args.steps, turn_seconds=.5)
            rows = [row for who in [*(f"creditlib/{rule}" for rule in RULES), "pytorch/bp"] for row in scaled(outcome, who, args, weak)]
            kind = "weak" if weak else "strong"
            result["tables"][f"resmlp_d{width}_L{blocks}/{kind}"] = rows
            print(f"\nd={width} L={blocks}, {args.batch} rows{' for each thread' if weak else ''}:\n\n{thread_table(rows)}", flush=True)
            for name, why in sorted(outcome.failures.items()):
                failed = True
                print(f"not measured: {name}: {why}")
            most = args.threads[-1]
            if weak or most == 1:
                continue
            for who in dict.fromkeys(row["who"] for row in rows):
                times = {row["threads"]: row["median_ms"] for row in rows if row["who"] == who}
                if {1, most} <= set(times):
                    s = serial_part(times[1], times[most], most)
                    at = {n: times[1] * (s + (1 - s) / n) for n in PREDICTED}
                    print(f"{who}: serial part {s:.2f}; at most, by Amdahl's law, " + ", ".join(f"{ms:.2f} ms on {n}" for n, ms in at.items()))
                    result.setdefault("amdahl", {})[f"resmlp_d{width}_L{blocks}/{who}"] = {"serial_part": s, "ms": at}
    if args.json:
        write_json(args.json, result)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
