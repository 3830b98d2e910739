# SPDX-License-Identifier: Apache-2.0
"""The flags of a program, as its --help lists them, and whether a value fits one."""

import difflib
import math
import os
import re
import subprocess
from dataclasses import dataclass

from sweeping.refusal import Refusal

OPTION = re.compile(r"^  (-\S+)(?: (.*))?$")
CHOICES = re.compile(r"TEXT:\{([^}]*)\}")
BOUND = re.compile(r"(>=|>) (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")  # "INT:a whole number >= 1"
RANGE = re.compile(r"in \[(\S+) - (\S+)\]")  # "FLOAT:FLOAT in [0 - 1]"


@dataclass
class Flag:
    name: str  # as --help has it first: --num_blocks
    kind: str  # INT, FLOAT or TEXT; "" for a flag without a value
    several: bool
    choices: list
    bounds: tuple = ()  # (">=", 1.0), ...

    def problem(self, value):
        """Why a value does not fit, as the end of a sentence; None if it does."""
        if not self.kind:
            return None if isinstance(value, bool) else f"{worded(value)}, expected true or false"
        if isinstance(value, list):
            if not self.several:
                return "a list, expected one value"
            if not value:
                return "an empty list"
            return next((self.problem_of_one(one) for one in value if self.problem_of_one(one)), None)
        return self.problem_of_one(value)

    def problem_of_one(self, value):
        if self.kind == "INT" and (isinstance(value, bool) or not isinstance(value, int)):
            return f"{worded(value)}, expected a whole number"
        if self.kind == "FLOAT" and (isinstance(value, bool) or not isinstance(value, (int, float))):
            return f"{worded(value)}, expected a number"
        if self.kind in ("INT", "FLOAT"):
            return self.problem_of_number(value)
        if self.kind == "TEXT" and (isinstance(value, (bool, list, dict))):
            return f"{worded(value)}, expected text"
        if self.kind == "TEXT" and self.choices and str(value) not in self.choices:
            return f"{worded(value)}, expected one of {', '.join(self.choices)}"
        return None

    def problem_of_number(self, value):
        if not math.isfinite(value):
            return f"{worded(value)}, expected a finite number"
        value = float(value)
        fits = {">=": value.__ge__, ">": value.__gt__, "<=": value.__le__}
        if all(fits[sign](limit) for sign, limit in self.bounds):
            return None
        kind = "a whole number" if self.kind == "INT" else "a number"
        return f"{plain(value).removesuffix('.0')}, expected {kind} {' and '.join(f'{sign} {limit:g}' for sign, limit in self.bounds)}"

    def words(self, value):
        """The words of a command line that give it this value."""
        if not self.kind:
            return [self.name] if value else []
        return [self.name, *(plain(one) for one in (value if isinstance(value, list) else [value]))]


def worded(value):
    return "true" if value is True else "false" if value is False else f'"{value}"' if isinstance(value, str) else str(value)


def plain(value):
    return repr(value) if isinstance(value, float) else str(value)


def key_of(name):
    """Flags are told apart by this: --num-blocks, num_blocks and --num_blocks are one."""
    return name.lstrip("-").replace("-", "_")


def flags_of(program):
    """{key: Flag} of an executable, from its --help."""
    try:
        said = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "COLUMNS": "100000"})  # a flag and its choices in one line
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refusal(f"{program} --help cannot be asked: {error}.") from None
    if said.returncode != 0:
        raise Refusal(f"{program} --help ends with exit code {said.returncode}: {said.stderr.strip()[-300:]}")
    flags = {}
    for line in said.stdout.splitlines():
        found = OPTION.match(line)
        if not found:
            continue
        names, rest = found.group(1).split(","), (found.group(2) or "")
        kind = re.match(r"(UINT|INT|FLOAT|TEXT)\b", rest)
        spec = re.split(r"\s{2,}", rest)[0]
        choices = CHOICES.match(rest)
        flag = Flag(names[0] if names[0].startswith("--") else names[-1], kind.group(1).removeprefix("U") if kind else "",
                    bool(re.search(r"\s\.\.\.(\s|$)", spec)), choices.group(1).split(",") if choices else [], bounds_in(spec))
        for name in names:
            flags[key_of(name)] = flag
    if not flags:
        raise Refusal(f"{program} --help lists no flags.")
    return flags


def bounds_in(spec):
    """What --help says of a number's range."""
    bounds = [(sign, float(limit)) for sign, limit in BOUND.findall(spec)]
    for low, high in RANGE.findall(spec):
        bounds += [(">=", float(low)), ("<=", float(high))]
    return tuple(dict.fromkeys(bounds))


def nearest(name, names):
    """' (did you mean X?)', or nothing."""
    found = difflib.get_close_matches(key_of(name), list(names), 1, 0.6)
    return f" (did you mean {found[0]}?)" if found else ""
