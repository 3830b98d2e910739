# SPDX-License-Identifier: Apache-2.0
"""Runs cells, several at once, each in a folder and a session of its own."""

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from reporting.source import Unreadable, load

RECORD, LOG = "sweep_cell.json", "sweep_log.txt"


def record_of(folder):
    """What the sweep noted of a cell; {} if nothing, or nothing readable."""
    try:
        record = json.loads((folder / RECORD).read_text())
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}


def write(path, text):
    """Whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)
            raise


def results_in(folder):
    return sorted(file for file in folder.glob("*.json") if not file.name.startswith(("sweep_", "checkpoint", ".")))


def damage_in(folder):
    """Why a results file of a cell cannot be read; None if all can."""
    for file in results_in(folder):
        try:
            load(file)
        except Unreadable as error:
            return f"{file.name} {error}"
    return None


class Pool:
    """`command(cell)` gives the words to run, `folder(cell)` where its results go."""

    def __init__(self, processes, threads, command, folder):
        self.processes, self.threads, self.command, self.folder = processes, threads, command, folder
        self.running = {}  # process id -> (cell, process, start)
        self.stopped_by = None

    def run(self, cells):
        """{name: record} of the cells that were started. After Ctrl-C or SIGTERM no more are, and those that run end by themselves."""
        waiting, records, number = list(cells), {}, 0
        handlers = {one: signal.signal(one, self.stop) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self.running or waiting and not self.stopped_by:
                while waiting and len(self.running) < self.processes and not self.stopped_by:
                    self.start(waiting.pop(0))
                if not self.running:
                    continue
                identifier, status, usage = os.wait4(-1, 0)
                if identifier not in self.running:
                    continue
                cell, process, start = self.running.pop(identifier)
                process.returncode = os.waitstatus_to_exitcode(status)
                number += 1
                records[cell.name] = self.finish(cell, process.returncode, time.monotonic() - start, usage.ru_maxrss * 1024)
                self.say(number, len(cells), cell, records[cell.name])
        finally:
            for identifier in self.running:
                os.kill(identifier, signal.SIGKILL)
            for one, handler in handlers.items():
                signal.signal(one, handler)
        return records

    def stop(self, number, _):
        """The programs finish their step and write their results; asked twice, they are killed."""
        again, self.stopped_by = self.stopped_by is not None, number  # first of all: the next signal may come in here
        forwarded = signal.SIGKILL if again else signal.SIGINT
        for identifier in list(self.running):
            try:
                os.kill(identifier, forwarded)
            except ProcessLookupError:
                pass
        if not again:
            print("sweep: stopping; running cells finish their step (Ctrl-C again ends them at once)", flush=True)

    def start(self, cell):
        folder = self.folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / LOG, "wb") as log:
            process = subprocess.Popen(self.command(cell), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                       start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": str(self.threads)})
        self.running[process.pid] = (cell, process, time.monotonic())

    def finish(self, cell, code, seconds, peak):
        folder, reason = self.folder(cell), ""
        if code != 0:
            reason = "stopped" if self.stopped_by else self.reason(folder, code)
        elif not results_in(folder):
            reason = "it ended without results"
        earlier = record_of(folder)
        taken = earlier.get("seconds", 0) if earlier.get("arguments") == cell.words and not earlier.get("finished") else 0
        record = {"arguments": cell.words, "finished": not reason, "reason": reason, "exit_code": code,
                  "seconds": round(taken + seconds, 3), "peak_memory_bytes": peak}
        write(folder / RECORD, json.dumps(record, indent=1) + "\n")
        return record

    def reason(self, folder, code):
        """What the program said last, for people."""
        if code < 0:
            hint = ", perhaps for memory" if -code == signal.SIGKILL else ""
            return f"ended by {signal.Signals(-code).name}{hint}"
        lines = [line.strip() for line in (folder / LOG).read_text(errors="replace").splitlines() if line.strip()]
        lines = [line for line in lines if not line.endswith("--help lists the flags.")]
        return f"exit code {code}" + (f": {lines[-1][:300]}" if lines else "")

    def say(self, number, of, cell, record):
        if record["finished"]:
            words = f"done in {record['seconds']:.0f} s"
        elif record["reason"] == "stopped":
            words = "stopped; what it has is kept"
        else:
            words = f"FAILED, {record['reason']} ({Path(self.folder(cell)) / LOG})"
        print(f"[{number}/{of}] {cell.name}: {words}", flush=True)
