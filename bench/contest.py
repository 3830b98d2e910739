# SPDX-License-Identifier: Apache-2.0
"""Contestants that take turns, so that a machine that slows down slows all of them, and the statistics of their times."""

import json
import os
import platform
import random
import signal
import statistics
import subprocess
import time
from pathlib import Path


class Failed(Exception):
    """A contestant cannot go on; the text says why."""


class Served:
    """A program of bench/ that runs what it is told and answers with times (support/serve.hpp), on OpenMP threads that wait as they do by
    default; it is stopped between its turns, so that waiting threads take nothing from others."""

    def __init__(self, program, threads, **flags):
        self.command = [str(program), "--serve", "--threads", str(threads)]
        for name, value in flags.items():
            self.command += [f"--{name}", str(value)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        environment.pop("OMP_WAIT_POLICY", None)
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=environment)
        self.said = ""

    def numbers(self, line):
        """What it answers to a line."""
        try:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
            answer = [float(word) for word in self.process.stdout.readline().split()]
            self.process.send_signal(signal.SIGSTOP)
            return answer
        except (BrokenPipeError, ValueError):
            return []

    def turn(self, steps, what="step"):
        times = self.numbers(f"{what} {steps}")
        if len(times) != steps:
            raise Failed(f"{' '.join(self.command)}: no answer to {what} {steps}. {self._last_words()}")
        return times

    def _last_words(self):
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return ""
        self.said = self.said or self.process.stderr.read().strip()
        return self.said

    def memory(self):
        """Bytes: the most that is held during a step, and of that activations and credit."""
        answer = self.numbers("memory")
        if len(answer) != 2:
            raise Failed(f"{' '.join(self.command)}: no answer to memory. {self._last_words()}")
        return {"peak": answer[0], "activations": answer[1]}

    def flop(self):
        """What the products of a step multiply and add."""
        answer = self.numbers("flop")
        if len(answer) != 1:
            raise Failed(f"{' '.join(self.command)}: no answer to flop. {self._last_words()}")
        return answer[0]

    def close(self):
        if self.process.poll() is None:
            try:
                self.process.send_signal(signal.SIGCONT)
                self.process.stdin.write("q\n")
                self.process.stdin.close()
                self.process.wait(timeout=10)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()


class Forward:
    """The forward passes of a served program, as a contestant beside its steps."""

    def __init__(self, served):
        self.served = served

    def turn(self, steps):
        return self.served.turn(steps, "forward")

    def close(self):
        pass


SLEEPS_AFTER = .05  # seconds within which GNU OpenMP's waiting threads stop to spin and sleep; by default it takes them some milliseconds


class Called:
    """step(x, y) in this process, on batches that go round; `make` makes it when its first turn comes."""

    def __init__(self, make, batches, before=lambda: None):
        self.make, self.batches, self.before, self.step, self.done = make, batches, before, None, 0

    def turn(self, steps):
        times = []
        try:
            self.before()
            self.step = self.step or self.make()
            for _ in range(steps):
                x, y = self.batches[self.done % len(self.batches)]
                self.done += 1
                start = time.perf_counter()
                self.step(x, y)
                times.append(1e3 * (time.perf_counter() - start))
            time.sleep(SLEEPS_AFTER)
        except Exception as error:  # of whatever another project's code throws
            raise Failed(f"{type(error).__name__}: {error}".splitlines()[0]) from error
        return times

    def close(self):
        pass


class Outcome:
    """Times in ms, by contestant and round, and why contestants failed."""

    def __init__(self, rounds, failures):
        self.rounds, self.failures = rounds, failures

    def __contains__(self, name):
        return name in self.rounds

    def median(self, name):
        return statistics.median(sum(self.rounds[name], []))

    def summary(self, name):
        low, middle, high = quartiles(sum(self.rounds[name], []))
        return {"median_ms": middle, "quartiles_ms": [low, high]}

    def ratio(self, name, *others):
        """Of the medians over all steps, to one contestant or to the sum of several; quartiles are those of the rounds' own ratios."""
        each = [statistics.median(a) / sum(statistics.median(b) for b in bs)
                for a, *bs in zip(self.rounds[name], *(self.rounds[other] for other in others))]
        low, _, high = quartiles(each)
        return {"ratio": self.median(name) / sum(self.median(other) for other in others), "quartiles": [low, high]}


def contest(contestants, rounds, steps, seed=0, turn_seconds=None):
    """Everybody's turns, in an order drawn anew every round, after turns to warm up that are not counted.

    A turn is `steps` steps, or fewer where those would take longer than turn_seconds, but at least one. Closes them.
    """
    order = random.Random(seed)
    times, failures, lengths = {name: [] for name in contestants}, {}, {}
    try:
        for index in range(-2, rounds):
            for name in order.sample(sorted(times), len(times)):
                try:
                    turn = contestants[name].turn(1 if index == -2 else lengths.get(name, 2))
                except Failed as failure:
                    failures[name] = str(failure)
                    del times[name]
                    continue
                if index == -1:
                    lengths[name] = steps
                    if turn_seconds is not None:
                        lengths[name] = max(1, min(steps, int(1e3 * turn_seconds / statistics.median(turn))))
                elif index >= 0:
                    times[name].append(turn)
    finally:
        for contestant in contestants.values():
            contestant.close()
    return Outcome(times, failures)


def quartiles(values):
    """Lower quartile, median, upper quartile."""
    return tuple(statistics.quantiles(values, n=4, method="inclusive")) if len(values) > 1 else (values[0],) * 3


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def said_by(*command):
    """What a program prints; "unknown" where it is not there or says nothing."""
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
    except OSError:
        return "unknown"


def commit():
    """The clone's commit, or that of the source archive, into which git archive wrote it."""
    root = Path(__file__).resolve().parent.parent
    archived = (root / "cmake/commit.txt").read_text().strip()
    if not archived.startswith("$"):
        return archived
    return said_by("git", "-C", str(root), "describe", "--always", "--dirty", "--tags") if (root / ".git").exists() else "unknown"


def machine(threads, device="cpu"):
    gpu = {} if device == "cpu" else {"gpu": said_by("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")}
    return {"cpu": cpu_model(), **gpu, "cores": os.cpu_count(), "affinity": len(os.sched_getaffinity(0)), "threads": threads,
            "waiting": os.environ.get("OMP_WAIT_POLICY", "OpenMP's own"), "commit": commit()}


def write_json(path, value):
    """Whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(partial, path)


def markdown(head, rows):
    """A table as documentation has it."""
    line = lambda cells: "| " + " | ".join(str(cell) for cell in cells) + " |"
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def program_in(folder, name, parser):
    program = folder.absolute() / name
    if not (program.is_file() and os.access(program, os.X_OK)):
        parser.error(f"{program} is not a program: ./run build bench_{name} builds it, --programs says where")
    return program
