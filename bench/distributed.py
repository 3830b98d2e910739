# SPDX-License-Identifier: Apache-2.0
"""Times training in two processes, on this machine and over a slow link, beside one process and beside PyTorch's DistributedDataParallel.

    ./run build bench_distributed_step
    sudo python bench/distributed.py --json docs/results/performance/distributed.json

A link is made of two network namespaces and a pair of virtual interfaces of limited rate (tc's token bucket), which needs root; they are
removed at the end. Without root, --tables loopback times what needs none. Each process has one thread, so that two of them have two cores.
Contestants take turns in an order drawn anew each round, and start anew each turn. Bytes are what the network interface of rank 0 has sent, on
loopback those of all ranks. Exit codes: 0; 1 where one fails; 2 for wrong flags.
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
HOSTS = ("creditlib0", "creditlib1")
INTERFACES = ("creditlib-a", "creditlib-b")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=["loopback", "link", "deep"], default=["loopback", "link", "deep"])
    parser.add_argument("--rate", default="100mbit", help="of the link, as tc has it (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=30, help="a turn (default: %(default)s)")
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/bench/distributed_step")
    parser.add_argument("--json", type=Path, help="also write times and ratios here")
    args = parser.parse_args()
    if args.rounds < 1 or args.steps < 1:
        parser.error("--rounds and --steps must be at least 1")
    if not args.program.is_file():
        parser.error(f"--program {args.program} is not there: ./run build bench_distributed_step")
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    if os.geteuid() != 0 and set(args.tables) != {"loopback"}:
        parser.error("network namespaces need root: sudo, or --tables loopback")
    return args


def ip(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def link(rate):
    """Two hosts with an address each, 10.231.0.1 and 10.231.0.2, on a link of this rate in both directions."""
    try:
        for host in HOSTS:
            ip("ip", "netns", "add", host)
        ip("ip", "link", "add", INTERFACES[0], "netns", HOSTS[0], "type", "veth", "peer", "name", INTERFACES[1], "netns", HOSTS[1])
        for index, (host, interface) in enumerate(zip(HOSTS, INTERFACES)):
            ip("ip", "-n", host, "addr", "add", f"10.231.0.{index + 1}/24", "dev", interface)
            ip("ip", "-n", host, "link", "set", "lo", "up")
            ip("ip", "-n", host, "link", "set", interface, "up")
            ip("ip", "netns", "exec", host, "tc", "qdisc", "add", "dev", interface, "root", "tbf", "rate", rate, "burst", "64kb", "latency", "100ms")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def ran(command, processes, threads, on_link):
    """What rank 0 of these processes prints."""
    port = 29517 if on_link else free_port()
    started = []
    for rank in range(processes):
        interface = INTERFACES[rank] if on_link else "lo"
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        environment |= {"OMP_NUM_THREADS": str(threads)}
        if processes > 1:
            environment |= {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": "0" if on_link else str(rank), "MASTER_PORT": str(port),
                            "MASTER_ADDR": "10.231.0.1" if on_link else "127.0.0.1", "GLOO_SOCKET_IFNAME": interface}
        words = (["ip", "netns", "exec", HOSTS[rank]] if on_link else []) + [*command, "--threads", str(threads), "--interface", interface]
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


def made(table, args):
    who = contestants(table, args.program)
    medians, steps, sent = {name: [] for name in who}, {name: [] for name in who}, {}
    order = random.Random(0)
    for index in range(args.rounds):
        for name in order.sample(sorted(who), len(who)):
            command, processes, threads = who[name]
            outcome = ran(command + ["--steps", str(args.steps)], processes, threads, table != "loopback")
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
    result = {"machine": machine(1), "settings": {"rounds": args.rounds, "steps": args.steps, "rate": args.rate}}
    for table in args.tables:
        if table == "loopback":
            result[table] = made(table, args)
        else:
            with link(args.rate):
                result[table] = made(table, args)
    about = result["machine"]
    print(f"\n{about['cpu']}, {about['affinity']} cores; commit {about['commit']}; a link of {args.rate}\n")
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
