# SPDX-License-Identifier: Apache-2.0
"""A sweep's TOML file, and the cells that it asks for."""

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from sweeping.flags import key_of, nearest, worded
from sweeping.refusal import Refusal

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

KEYS = {"program": (str, "text"), "output": (str, "text"), "processes": (int, "a whole number"), "threads": (int, "a whole number"),
        "flags": (dict, "a table, [flags]"), "grid": (dict, "a table, [grid]"), "cells": (list, "tables, [[cells]]")}
OWN = {"output_dir": "output, at the top of the file", "threads": "threads, at the top of the file",
       "retrain": "the flag --retrain of the sweep", "help": "./run sweep --help",
       "config": "this file, whose [flags] are those of all cells", "dump_config": "--dry-run of the sweep"}


@dataclass
class Cell:
    name: str
    varied: dict  # key -> value: what tells it from the other cells
    words: list  # of its command line, without --output_dir and --threads


class File:
    """The file's content, and where in it a key stands."""

    def __init__(self, path):
        self.path = Path(path)
        try:
            self.text = self.path.read_text(encoding="utf-8")
            self.content = tomllib.loads(self.text)
        except OSError as error:
            raise Refusal(f"{path} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise Refusal(f"{path} is not text.") from None
        except tomllib.TOMLDecodeError as error:
            raise Refusal(f"{path} is not TOML: {error}.") from None
        self.check()

    def refuse(self, words, key, table="", place=0):
        raise Refusal(f"{self.path}, line {self.line(key, table, place)}: {words}")

    def line(self, key, table="", place=0):
        """The line of a key; `place`: in which of the tables [[cells]]."""
        inside, seen, first = "", -1, 1
        for number, line in enumerate(self.text.splitlines(), 1):
            header = re.match(r"\s*\[\[?\s*([^\]\s]+)\s*\]", line)
            if header:
                inside = header.group(1)
                seen += inside == table
                if inside == (key if not table else table):
                    first = number
                    if not table:
                        return number
            elif inside == table and seen in (-1, place) or not table and not inside:
                if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
                    return number
        return first

    def check(self):
        for key, value in self.content.items():
            if key not in KEYS:
                self.refuse(f"there is no key {key}{nearest(key, KEYS)}; there are {', '.join(KEYS)}. Flags go into [flags].", key)
            kind, expected = KEYS[key]
            if not isinstance(value, kind) or isinstance(value, bool):
                self.refuse(f"{key} is {worded(value)}, expected {expected}.", key)
            if kind is int and value < 1:
                self.refuse(f"{key} is {value}, expected a whole number >= 1.", key)
        if "program" not in self.content:
            raise Refusal(f"{self.path} has no program; it begins with, say, program = \"train_methods\".")
        for place, cell in enumerate(self.content.get("cells", [])):
            if not isinstance(cell, dict):
                self.refuse("cells are tables: each begins with a line [[cells]].", "cells")

    @property
    def program(self):
        return self.content["program"]

    @property
    def output(self):
        return Path(self.content.get("output", f"results/sweeps/{self.path.stem}"))


def executable(file, root):
    """The program of a file: a name, or a path."""
    name = file.program
    folder = Path(os.environ.get("CREDITLIB_PROGRAMS", root / "build/release/examples"))
    path = Path(name) if os.sep in name else folder / name
    if not path.is_file() or not os.access(path, os.X_OK):
        others = [one.name for one in path.parent.glob("*") if one.is_file() and os.access(one, os.X_OK)]
        file.refuse(f"there is no program {path}{nearest(name, others)}.", "program")
    return str(path.resolve())


def cells_of(file, flags, given):
    """The cells: each of the list [[cells]] with each combination of [grid]. `given`: fixed flags that replace the file's."""
    fixed = checked(file, flags, "flags")
    grid = {}
    for key, values in file.content.get("grid", {}).items():
        check_name(file, flags, key, "grid")
        if not isinstance(values, list) or not values:
            file.refuse(f"{key} is {worded(values)}, expected a list of values to try.", key, "grid")
        for value in values:
            check(file, flags, key, value, "grid", in_list=True)
        grid[key_of(key)] = values
    listed = [checked(file, flags, "cells", place) for place in range(len(file.content.get("cells", [])))]
    if not grid and not listed:
        raise Refusal(f"{file.path} has no cell: it needs a table [grid] with lists of values, or tables [[cells]].")
    for tables in ((fixed, grid, "[flags] and in [grid]"), *((grid, cell, "[grid] and in [[cells]]") for cell in listed)):
        for key in tables[0].keys() & tables[1].keys():
            file.refuse(f"{key} is in {tables[2]}; it can be in one of them.", key, "grid")
    for key in (grid.keys() | {key for cell in listed for key in cell}) & given.keys():
        raise Refusal(f"--{key} varies in {file.path}, so it cannot be given for all cells.")
    cells = []
    for one in listed or [{}]:
        for values in itertools.product(*grid.values()):
            varied = {**one, **dict(zip(grid, values))}
            settings = {**fixed, **given, **varied}
            words = [word for key, value in settings.items() for word in flags[key].words(value)]
            cells.append(Cell(name_of(varied), varied, words))
    names = {}
    for number, cell in enumerate(cells, 1):
        if cell.name in names:
            raise Refusal(f"Cells {names[cell.name]} and {number} of {file.path} are the same: {cell.name}.")
        names[cell.name] = number
    return cells


def checked(file, flags, table, place=None):
    content = file.content.get(table, {}) if place is None else file.content[table][place]
    for key, value in content.items():
        check(file, flags, key, value, table, place=place or 0)
    return {key_of(key): value for key, value in content.items()}


def check_name(file, flags, key, table, place=0):
    if key_of(key) in OWN:
        file.refuse(f"{key} is not set here: it is {OWN[key_of(key)]}.", key, table, place)
    if key_of(key) not in flags:
        file.refuse(f"{file.program} has no flag --{key_of(key)}{nearest(key, flags)}; {file.program} --help lists them.", key, table, place)


def check(file, flags, key, value, table, in_list=False, place=0):
    check_name(file, flags, key, table, place)
    problem = flags[key_of(key)].problem(value)
    if problem:
        file.refuse(f"{key} {'has' if in_list else 'is'} {problem}.", key, table, place)


def name_of(varied):
    """A folder's name: num_blocks=2,penalty_lam=0.01"""
    words = [f"{key}={'+'.join(map(shown, value)) if isinstance(value, list) else shown(value)}" for key, value in varied.items()]
    return re.sub(r"[^A-Za-z0-9._=,+-]", "-", ",".join(words))[:200] or "all"


def shown(value):
    return f"{value:g}" if isinstance(value, float) else "on" if value is True else "off" if value is False else str(value)


def fixed_from(words, flags, program):
    """{key: value} of flags as on a command line: --dataset digits --epochs 2."""
    given, key = {}, None
    for word in words:
        name, equals, value = word.partition("=")
        if re.match(r"--[A-Za-z]", name):
            key = key_of(name)
            if key in OWN:
                raise Refusal(f"{name} is not given to the program: it is {OWN[key]}.")
            if key not in flags:
                raise Refusal(f"{program} has no flag {name}{nearest(name, flags)}; {program} --help lists them.")
            given[key] = [value] if equals else []
        elif key is None:
            raise Refusal(f"{word} belongs to no flag: after -- come flags of {program}, such as --epochs 2.")
        else:
            given[key].append(word)
    return {key: read_words(key, values, flags[key]) for key, values in given.items()}


def read_words(key, words, flag):
    if not flag.kind:
        if words:
            raise Refusal(f"--{key} takes no value, but has {' '.join(words)}.")
        return True
    values = [number(word) if flag.kind in ("INT", "FLOAT") else word for word in words]
    value = values if flag.several else values[0] if len(values) == 1 else None
    problem = "without a value" if not values else "one value too many" if value is None else flag.problem(value)
    if problem:
        raise Refusal(f"--{key} is {problem}.")
    return value


def number(word):
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word
