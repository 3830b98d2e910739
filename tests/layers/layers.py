#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds that includes of creditlib's headers point one way: from higher layers to lower ones.

usage: layers.py INCLUDE_FOLDER [--graph]

A room is a folder of include/creditlib, with its detail/; the vocabulary is the headers that a rule's author includes,
with creditlib/detail/. A header may include headers of its own room and of rooms in lower layers. Exit code 1 if one
includes another; --graph prints the arrows between rooms.
"""
import pathlib
import re
import sys

# Lowest first. "vocabulary" and "face" are files of creditlib/ itself; distributed/group.hpp is vocabulary too.
LAYERS = [
    ["vocabulary"],
    ["distributed", "io", "loss", "net", "network", "normalizer", "objective", "optim", "rate", "runtime", "schedule", "scope",
     "statistics"],
    ["clip", "credit", "data", "diagnostics", "optimizer", "pass"],
    ["audit", "closed_form"],
    ["model", "trainer"],
    ["face"],
    ["cuda", "testing"],
    ["protocol", "process", "umbrella"],  # old names, and what includes everything
]
FILES = {
    "vocabulary": ["bind_context", "concepts", "distributed/group", "error", "factored_credit", "named_tensors",
                   "parameter_parts", "progress", "reads", "trace", "trained_parameter", "trainer_options", "version"],
    "face": ["local_trainer", "backprop_trainer", "any_trainer", "trace_of", "distributed/block_trainer"],
    "umbrella": ["creditlib"],
}

LAYER_OF = {room: number for number, layer in enumerate(LAYERS) for room in layer}
ROOM_OF_FILE = {file: room for room, files in FILES.items() for file in files}


def room_of(header):
    """The room of "credit/dfa.hpp" and the like; None if the list has none."""
    path = pathlib.PurePosixPath(header).with_suffix("")
    parts = path.parts
    if len(parts) == 1 or path.as_posix() in ROOM_OF_FILE:
        return ROOM_OF_FILE.get(path.as_posix())
    room = "vocabulary" if parts[0] == "detail" else parts[0]
    return room if room in LAYER_OF else None


def main():
    folder = pathlib.Path(sys.argv[1]) / "creditlib"
    faults, arrows = [], {}
    headers = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.hpp"))
    if not headers:
        sys.exit(f"{folder}: no headers")
    for header in headers:
        room = room_of(header)
        if room is None:
            faults.append(f"{header} is in no room of the list in tests/layers/layers.py: add it to a layer")
            continue
        text = (folder / header).read_text()
        for included in re.findall(r"^\s*#\s*include\s*[<\"]creditlib/([^>\"]+)[>\"]", text, re.MULTILINE):
            if not (folder / included).exists():
                faults.append(f"{header} includes {included}, which does not exist")
                continue
            other = room_of(included)
            if other is None or other == room:
                continue
            arrows.setdefault(room, set()).add(other)
            if LAYER_OF[other] >= LAYER_OF[room]:
                where = "in the same layer as" if LAYER_OF[other] == LAYER_OF[room] else "above"
                faults.append(f"{header} includes {included}: {other} (layer {LAYER_OF[other]}) is {where} {room} "
                              f"(layer {LAYER_OF[room]})")
    if "--graph" in sys.argv:
        for room in sorted(arrows, key=lambda room: LAYER_OF[room]):
            print(f"{LAYER_OF[room]} {room} -> {', '.join(sorted(arrows[room]))}")
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        return 1
    print(f"{len(headers)} headers in {len(LAYERS)} layers: every include points to a lower layer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
