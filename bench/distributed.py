# SPDX-License-Identifier: Apache-2.0
"""Times training in two processes, on this machine and over a link with delay, beside one process and beside PyTorch's DistributedDataParallel.

    ./run build bench_distributed_step bench_distributed_hosts
    sudo python bench/distributed.py --json docs/results/performance/distributed.json

A link joins two network namespaces, which needs root. The program distributed_hosts makes them, with a TAP device each, moves frames between these
at the rate and with the delay, and removes all at the end. Without root, --tables loopback times what needs none. Each process has one thread, so
that two of them have two cores. Contestants take turns in an order drawn anew each round, and start anew each turn. Bytes are what the network
interface of rank 0 has sent, on loopback those of all ranks. Exit codes: 0; 1 where one fails; 2 for wrong flags.
"""

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from contest import machine, markdown, quartiles, write_json

ROOT = Path(__file__).resolve().parent.parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=["loopback", "link", "deep"], default=["loopback", "link", "deep"])
    parser.add_argument("--rate", type=float, default=100, metavar="MBIT", help="of the link, each way, in Mb/s (default: %(default)s)")
    parser.add_argument("--delay", type=float, default=0.1, metavar="MS", help="of the link, one way, besides what a message takes on this "
                        "machine, some .1 ms (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=30, help="a turn (default: %(default)s)")
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/bench/distributed_step")
    parser.add_argument("--json", type=Path, help="also write times and ratios here")
    args = parser.parse_args()
    if args.rounds < 1 or args.steps < 1:
        parser.error("--rounds and --steps must be at least 1")
    if not (0 < args.rate < float("inf") and 0 <= args.delay < float("inf")):
        parser.error("--rate must be above 0, and --delay at least 0")
    on_link = set(args.tables) != {"loopback"}
    for program in [args.program] + [hosts_beside(args.program)] * on_link:
        if not program.is_file():
            parser.error(f"{program} is not there: ./run build bench_distributed_step bench_distributed_hosts; --program says where the first is")
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    if os.geteuid() != 0 and on_link:
        parser.error("network namespaces need root: sudo, or --tables loopback")
    return args


def hosts_beside(program):
    return program.with_name("distributed_hosts")


@contextmanager
def two_hosts(args):
    """The names of two hosts, with the addresses 10.233.0.1 and 10.233.0.2, on a link."""
    command = [hosts_beside(args.program), "--delay", str(args.delay), "--rate", str(args.rate)]
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    with subprocess.Popen(command, **pipes, text=True) as program:  # which lasts until its input is closed
        hosts = program.stdout.readline().split()
        if not hosts:
            sys.exit(program.stderr.read().strip())
        yield hosts


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def ran(command, processes, threads, hosts):
    """What rank 0 of these processes prints, each of which is on a host of its own, if there are hosts."""
    port = 29517 if hosts else free_port()
    interface = "wire0" if hosts else "lo"
    started = []
    for rank in range(processes):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        environment |= {"OMP_NUM_THREADS": str(threads)}
        if processes > 1:
            environment |= {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": "0" if hosts else str(rank), "MASTER_PORT": str(port),
                            "MASTER_ADDR": "10.233.0.1" if hosts else "127.0.0.1", "GLOO_SOCKET_IFNAME": interface}
        words = (["ip", "netns", "exec", hosts[rank]] if hosts else []) + [*command, "--threads", str(threads), "--interface", interface]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment))
    said = [process.communicate() for process in started]
    if any(process.returncode != 0 for process in started):
        sys.exit(f"{' '.join(command)} failed:\n" + "\n".join(error for _, error in said))
    return json.loads(said[0][0])


def contestants(table, program):
    """By name: command, processes, threads of each."""
    ours, pytorch = [str(program)], [sys.executable, str(ROOT / "bench/distributed/pytorch_step.py")]
    small = ["--width", "256", "--blocks", "4", "--batch", "256"]
    deep = ["--width", "512", "--blocks", "12", "--batch", "128"]
    if table == "loopback":
        return {"dfa, one process, two threads": (ours + small, 1, 2), "dfa, two processes": (ours + small, 2, 1),
                "bp, one process, two threads": (ours + small + ["--rule", "bp"], 1, 2), "bp, two processes": (ours + small + ["--rule", "bp"], 2, 1),
                "PyTorch DDP, two processes": (pytorch + small, 2, 1)}
    if table == "link":
        return {"dfa": (ours + small, 2, 1), "bp": (ours + small + ["--rule", "bp"], 2, 1), "PyTorch DDP": (pytorch + small, 2, 1)}
    return {"dfa, one process, one thread": (ours + deep, 1, 1), "bp, one process, one thread": (ours + deep + ["--rule", "bp"], 1, 1),
            "dfa, data-parallel": (ours + deep, 2, 1), "dfa, block-parallel": (ours + deep + ["--parallel", "blocks"], 2, 1),
            "PyTorch DDP": (pytorch + deep, 2, 1)}


RATIOS = {"loopback": [("dfa, two processes", "dfa, one process, two threads"), ("bp, two processes", "bp, one process, two threads"),
                       ("dfa, two processes", "PyTorch DDP, two processes")],
          "link": [("dfa", "PyTorch DDP"), ("bp", "PyTorch DDP"), ("dfa", "bp")],
          "deep": [("dfa, block-parallel", "PyTorch DDP"), ("dfa, data-parallel", "PyTorch DDP")]}


def made(table, args, hosts=None):
    who = contestants(table, args.program)
    medians, steps, sent = {name: [] for name in who}, {name: [] for name in who}, {}
    order = random.Random(0)
    for index in range(args.rounds):
        for name in order.sample(sorted(who), len(who)):
            command, processes, threads = who[name]
            outcome = ran(command + ["--steps", str(args.steps)], processes, threads, hosts)
            steps[name] += outcome["ms"]
            medians[name].append(statistics.median(outcome["ms"]))
            sent[name] = outcome["bytes_per_step"] if processes > 1 else 0
            print(f"{table}, round {index + 1}/{args.rounds}: {name} {medians[name][-1]:.2f} ms a step", flush=True)
    found = {"ms": {name: statistics.median(times) for name, times in steps.items()}, "bytes_per_step": sent, "ratios": []}
    for above, below in RATIOS[table]:
        low, _, high = quartiles([a / b for a, b in zip(medians[above], medians[below])])
        found["ratios"].append({"of": above, "to": below, "ratio": found["ms"][above] / found["ms"][below], "quartiles": [low, high]})
    return found


def main():
    args = arguments()
    result = {"machine": machine(1), "settings": {"rounds": args.rounds, "steps": args.steps, "rate_mbit": args.rate, "delay_ms": args.delay}}
    for table in args.tables:
        if table == "loopback":
            result[table] = made(table, args)
        else:
            with two_hosts(args) as hosts:
                result[table] = made(table, args, hosts)
    about = result["machine"]
    print(f"\n{about['cpu']}, {about['affinity']} cores; commit {about['commit']}; a link of {args.rate:g} Mb/s and {args.delay:g} ms one way\n")
    for table in args.tables:
        found = result[table]
        print(markdown([table, "ms a step", "MB a step"],
                       [[name, f"{ms:.2f}", f"{found['bytes_per_step'][name] / 1e6:.2f}" if found["bytes_per_step"][name] else ""]
                        for name, ms in found["ms"].items()]))
        print()
        print(markdown(["", "to", "ratio (quartiles)"],
                       [[row["of"], row["to"], f"{row['ratio']:.2f} ({row['quartiles'][0]:.2f} to {row['quartiles'][1]:.2f})"]
                        for row in found["ratios"]]))
        print()
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
