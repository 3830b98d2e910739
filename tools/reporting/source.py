# SPDX-License-Identifier: Apache-2.0
"""A results file as a JSON object, and what is missing or odd in it, in sentences."""

import json
import math
from pathlib import Path


class Unreadable(Exception):
    """A file that gives no run; its words say why."""


class Lost(str):
    """A note about a part that cannot be read; other notes are about runs as they are."""


class Source:
    """One results file. `notes` are sentences about what is missing in it, for the page and for the terminal."""

    def __init__(self, path, name):
        self.name = name
        self.notes = []
        self.content = load(Path(path))

    def note(self, words):
        self.notes.append(f"{self.name}: {words}")

    def lost(self, words):
        self.notes.append(Lost(f"{self.name}: {words}"))

    def section(self, where, content, key, kind=dict):
        """content[key] if it is a `kind`; else an empty one, and a note."""
        value = content.get(key)
        if isinstance(value, kind):
            return value
        found = "is missing" if value is None else f"is {kind_of(value)}, expected {kind_of(kind())}"
        self.lost(f"{where}{key} {found}.")
        return kind()

    def listed(self, where, value, kind=dict):
        """The entries of a list that are of this kind; the others are noted."""
        if value is None:
            return []
        entries = [entry for entry in value if isinstance(entry, kind)] if isinstance(value, list) else []
        if not isinstance(value, list):
            self.lost(f"{where} is {kind_of(value)}, expected a list; it is left out.")
        elif len(entries) < len(value):
            self.lost(f"{where} has {len(value) - len(entries)} entries that are not {kind_of(kind())}; they are left out.")
        return entries

    def numbers(self, where, value):
        """A list of floats; what is no finite number is nan, and noted."""
        if value is None:
            return []
        if not isinstance(value, list):
            self.lost(f"{where} is {kind_of(value)}, expected a list of numbers; it is left out.")
            return []
        numbers = [number(entry) for entry in value]
        gaps = [i for i, entry in enumerate(numbers) if not math.isfinite(entry)]
        if gaps:
            first = ", ".join(str(i + 1) for i in gaps[:5]) + (", ..." if len(gaps) > 5 else "")
            self.note(f"{where} has {len(gaps)} of {len(numbers)} values that are not finite numbers (entry {first}): "
                      "gaps in the pictures.")
        return numbers

    def curve(self, where, log, key, xs=None):
        """[(x, value)]; x counts from 1 unless `xs` are given."""
        values = self.numbers(f"{where}{key}", log.get(key))
        if xs is None:
            xs = range(1, len(values) + 1)
        elif len(xs) != len(values) and values:
            self.lost(f"{where}{key} has {len(values)} values at {len(xs)} places; the rest is left out.")
        return list(zip(xs, values))


def number(value):
    """A float; nan for what is no number. Programs write null for what is not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    value = float(value)
    return value if math.isfinite(value) else math.nan


def kind_of(value):
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


def load(path):
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Unreadable("is not a results file: it is not text.") from None
    if not text.strip():
        raise Unreadable("is empty.")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        ends = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        cut = "it ends early" if ends else error.msg
        raise Unreadable(f"is damaged: {cut}, in line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise Unreadable("is damaged: it is nested too deeply.") from None
    if not isinstance(content, dict):
        raise Unreadable(f"is not a results file: it holds {kind_of(content)}, expected an object.")
    return content
