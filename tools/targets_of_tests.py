#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what has to be built for some of the tests, one target per line.

    ctest --test-dir BUILD --show-only=json-v1 -R dfa | tools/targets_of_tests.py BUILD

A test needs each file in the build folder that its command names and that Ninja can build. If the command names a folder of
programs, it needs them all. If all tests are selected, the target is `all`.
"""
import json
import os
import re
import subprocess
import sys

BUILD = os.path.realpath(sys.argv[1])

# Tests that compile files the way this one is compiled want its precompiled header first: they would be slow without it.
NOT_A_TARGET = {"generated/precompiled.cpp": "creditlib_precompiled"}

STRING = r'"(?:[^"\\]|\\.)*"'
ADD_TEST = re.compile(rf"^add_test\((?:\[(=*)\[(?P<bracket>.*?)\]\1\]|(?P<quoted>{STRING})|(?P<plain>\S+)) (?P<words>.*)\)$", re.M)


def unquoted(string):
    return re.sub(r"\\(.)", r"\1", string[1:-1])


def commands_of_tests(folder):
    """(name, words of its command) of every test. ctest itself leaves out the commands of programs that are not built yet."""
    try:
        with open(os.path.join(folder, "CTestTestfile.cmake"), encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return
    for test in ADD_TEST.finditer(text):
        name = test["bracket"] or test["plain"] or unquoted(test["quoted"])
        yield name, [unquoted(word) for word in re.findall(STRING, test["words"])]
    for below in re.findall(rf"^subdirs\(({STRING})\)$", text, re.M):
        yield from commands_of_tests(os.path.join(folder, unquoted(below)))


def ninja_targets():
    listed = subprocess.run(["cmake", "--build", BUILD, "--", "-t", "targets", "all"], check=True, capture_output=True, text=True)
    return {line.rpartition(": ")[0] for line in listed.stdout.splitlines()}


def target_of(word, targets):
    """What has to be built for one word of a command, or None."""
    path = word if word.startswith("/") else word.partition("=")[2]  # PROGRAM=/path
    if not path.startswith("/"):
        return None
    inside = os.path.relpath(os.path.realpath(path), BUILD)
    if inside == "." or inside.startswith(".."):
        return None
    for target in (inside, NOT_A_TARGET.get(inside), inside + "/all"):
        if target in targets:
            return target
    return None


def main():
    selected = {test["name"] for test in json.load(sys.stdin)["tests"]}
    tests = dict(commands_of_tests(BUILD))
    if selected >= set(tests):
        print("all")
        return
    targets = ninja_targets()
    needed = {target_of(word, targets) for name in selected for word in tests[name]}
    print("\n".join(sorted(needed - {None})))


main()
