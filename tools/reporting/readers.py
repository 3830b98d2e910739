# SPDX-License-Identifier: Apache-2.0
"""What each program writes, read as runs. A reader takes a Source and yields Runs; `read` finds the reader by the file's keys."""

from reporting.runs import Run
from reporting.source import Source, Unreadable, kind_of, number

READERS = []


def reader(program, recognizes):
    """Registers a reader of a program's files; `recognizes` says from the file's content whether it is one."""

    def register(function):
        READERS.append((program, recognizes, function))
        return function

    return register


def read(path, name):
    """(runs, notes) of a file. Raises Unreadable if it gives none."""
    source = Source(path, name)
    content = source.content
    program, read_runs = next(((p, f) for p, recognizes, f in READERS if recognizes(content)), (None, None))
    if program is None:
        keys = ", ".join(list(content)[:6]) + (", ..." if len(content) > 6 else "")
        raise Unreadable(f"is not a results file of a program of creditlib; its keys are {keys or 'none'}.")
    try:
        runs = list(read_runs(source, program, content))
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise Unreadable(f"looks like results of {program}, but is not built like them ({error}).") from None
    if program in OF_CREDITLIB and runs:
        source.section("", content, "environment")
    if not runs:
        raise Unreadable(f"has no runs of {program} yet." if not source.notes else
                         "gives nothing to draw: " + source.notes[0].removeprefix(f"{name}: "))
    for run in runs:
        if not run.finished:
            done = f" after {run.epochs[0]} of {run.epochs[1]} {run.x}s" if run.epochs else ""
            source.note(f"{run.name}: not finished{done}; it is drawn as far as it goes.")
    return runs, source.notes


def seeds_in(content):
    return [key for key in content if key.isdecimal()]


def config_of(source, content, key="config"):
    return source.section("", content, key)


def median(values):
    finite = sorted(value for value in values if value == value)
    return finite[len(finite) // 2] if finite else None


def costs(entry, steps=None, epochs=None):
    """ms per step: of training, and of the diagnostics after each epoch, shared by its steps."""
    parts = {}
    step = number(entry.get("ms_per_step"))
    if step == step:
        parts["training step"] = step
    diagnostics = number(entry.get("diagnostics_ms"))
    if diagnostics == diagnostics and steps and epochs:
        parts["diagnostics"] = diagnostics * epochs / steps
    return parts


def by_seed_and_method(source, content):
    """(seed, method, entry) of {"42": {"dfa": {...}}}."""
    for seed in seeds_in(content):
        methods = content[seed]
        if not isinstance(methods, dict):
            source.lost(f"seed {seed} is {kind_of(methods)}, expected an object; it is left out.")
            continue
        for method, entry in methods.items():
            if not isinstance(entry, dict):
                source.lost(f"seed {seed}, {method} is {kind_of(entry)}, expected an object; it is left out.")
                continue
            yield int(seed), method, entry
    if not seeds_in(content):
        source.note(f"no seed in it, only {', '.join(content) or 'nothing'}.")
        return
    planned = content.get("config", {}).get("seeds")
    for seed in planned if isinstance(planned, list) else []:
        if str(seed) not in content:
            source.note(f"seed {seed} of config.seeds is not in it, or not run yet.")


NORMS = {"gamma_block_output": "gamma", "hidden_norms_per_layer": "hidden_norms",
         "bp_grad_norms_per_layer": "gradient_norms", "gamma_by_block": "gamma", "gammas_per_layer": "gamma",
         "rhos_per_layer": "rho", "hidden_norms": "hidden_norms", "gradient_norms": "gradient_norms",
         "final_hidden_norms": "hidden_norms", "gamma": "gamma"}


def states(source, where, entry):
    """The figures by state that an object has, under the names of Run.states."""
    return {NORMS[key]: source.numbers(f"{where}{key}", value) for key, value in entry.items()
            if key in NORMS and isinstance(value, list)}


def history(entries, x="epoch"):
    """[{"epoch": 1, "gamma": [...]}] as {"gamma": [(1, [...])]}."""
    found = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get(x), int):
            continue
        for key, value in entry.items():
            if key in NORMS and isinstance(value, list) and value and not isinstance(value[0], list):
                found.setdefault(NORMS[key], []).append((entry[x], [number(v) for v in value]))
    return found


OF_CREDITLIB = {"train_methods", "regression", "weight_transport", "language_model", "schedule_timing", "toy_lq"}


@reader("train_methods", lambda c: isinstance(c.get("config"), dict) and "methods" in c["config"] and "arch" in c["config"])
def train_methods(source, program, content):
    config = config_of(source, content)
    for seed, method, entry in by_seed_and_method(source, content):
        where = f"seed {seed}, {method}: "
        log = source.section(where, entry, "log")
        curves = {key: source.curve(where, log, key) for key in ("test_acc", "train_acc", "train_loss")}
        diagnostics = source.section(where, entry, "diagnostics")
        for key in ("test_acc", "train_loss"):
            if log and key not in log:
                source.lost(f"{where}log.{key} is missing.")
        done = len(curves["test_acc"])
        yield Run(source.name, program, method, seed, config, curves=curves, states=states(source, where, diagnostics),
                  history=history(entry.get("by_epoch", [])), cost=costs(entry, entry.get("steps"), done),
                  epochs=(done, config.get("epochs", done)), finished=entry.get("finished") is True)


@reader("regression", lambda c: isinstance(c.get("config"), dict) and "target" in c["config"])
def regression(source, program, content):
    config = config_of(source, content)
    for seed, method, entry in by_seed_and_method(source, content):
        if method == "baselines":
            for name, baseline in entry.items():
                rmse = number(baseline.get("test_rmse"))
                yield Run(source.name, program, f"{name} (baseline)", seed, config, curves={"test_rmse": [(1, rmse)]})
            continue
        where = f"seed {seed}, {method}: "
        log = source.section(where, entry, "log")
        curves = {key: source.curve(where, log, key) for key in ("test_rmse", "train_loss")}
        done = len(curves["test_rmse"])
        yield Run(source.name, program, method, seed, config, curves=curves, states=states(source, where, entry),
                  cost=costs(entry), epochs=(done, config.get("epochs", done)),
                  finished=entry.get("finished", done == config.get("epochs", done)) is True)


@reader("weight_transport", lambda c: isinstance(c.get("config"), dict) and {"methods", "decay"} <= c["config"].keys())
def weight_transport(source, program, content):
    config = config_of(source, content)
    for seed, method, entry in by_seed_and_method(source, content):
        where = f"seed {seed}, {method}: "
        log = source.section(where, entry, "log")
        curves = {key: source.curve(where, log, key) for key in ("test_acc", "train_acc", "train_loss")}
        angles = source.listed(f"{where}angles", log.get("angles"))  # the first is before training
        curves["credit_angle"] = [(epoch, number(angle.get("credit"))) for epoch, angle in enumerate(angles)]
        done = len(curves["test_acc"])
        yield Run(source.name, program, method, seed, config, curves=curves, cost=costs(entry),
                  epochs=(done, config.get("epochs", done)), finished=done == config.get("epochs", done))


@reader("PyTorch reference", lambda c: isinstance(c.get("settings"), dict) and bool(seeds_in(c)))
def reference(source, program, content):
    settings = config_of(source, content, "settings")
    for seed, method, entry in by_seed_and_method(source, content):
        where = f"seed {seed}, {method}: "
        log = entry["log"] if isinstance(entry.get("log"), dict) else entry
        curves = {key: source.curve(where, log, key) for key in ("test_acc", "train_acc", "train_loss")}
        past = {NORMS[key]: [(i + 1, source.numbers(f"{where}{key}", values)) for i, values in enumerate(log[key])]
                for key in ("hidden_norms", "gradient_norms") if isinstance(log.get(key), list)}
        last = {what: values[-1][1] for what, values in past.items() if values}
        done = len(curves["test_acc"])
        yield Run(source.name, program, method, seed, settings, curves=curves, history=past,
                  states={**last, **states(source, where, entry)}, finished=entry.get("finished") is True,
                  epochs=(done, settings.get("epochs", done)))


RESULTS_OF_CNN = {"acc", "Gamma", "rho", "ms_per_step", "finished", "mode", "samples"}


@reader("cnn_baseline", lambda c: "method" in c and "relative_nudge" in c)
def cnn_baseline(source, program, content):
    config = content["config"] if isinstance(content.get("config"), dict) else {  # older files have settings at the top
        key: value for key, value in content.items() if isinstance(value, (int, float, str)) and key not in RESULTS_OF_CNN}
    log = source.section("", content, "log")
    curves = {key: source.curve("log.", log, key) for key in ("test_acc", "train_acc", "train_loss")}
    done = len(curves["test_acc"])
    yield Run(source.name, program, content["method"], content.get("seed"), config, curves=curves,
              states=states(source, "", content), cost=costs(content), epochs=(done, config.get("epochs", done)),
              finished=content.get("finished") is True)


@reader("dfa_residual_penalty", lambda c: "final_test_acc" in c or isinstance(c.get("config"), dict) and "max_growth" in c["config"])
def dfa_residual_penalty(source, program, content):
    config = config_of(source, content)
    log = [entry for entry in source.section("", content, "log", list) if isinstance(entry, dict)]
    past = history([{**entry, "gamma": entry.get("gamma", [])[1:]} for entry in log])  # from the first block's output on
    outcome = content.get("outcome") if isinstance(content.get("outcome"), dict) else {}
    curves = {to: [(entry["epoch"], number(entry[key])) for entry in log if key in entry and "epoch" in entry]
              for key, to in {"acc_eval": "test_acc", "test_acc": "test_acc", "train_loss": "train_loss"}.items()}
    final, done = number(content.get("final_test_acc")), log[-1].get("epoch", 0) if log else 0
    if final == final:
        curves["test_acc"] = [point for point in curves["test_acc"] if point[0] != done] + [(done, final)]
    yield Run(source.name, program, config.get("method", "?"), config.get("seed"), config, curves=curves, history=past,
              states={what: values[-1][1] for what, values in past.items()}, finished=content.get("finished") is True,
              cost=costs(content), epochs=(done, config.get("epochs", done)),
              words=[f"{outcome['letter']}: {outcome['why']}"] if {"letter", "why"} <= outcome.keys() else [])


@reader("language_model", lambda c: "validation_bits_per_character" in c and "method" in c)
def language_model(source, program, content):
    config, log = config_of(source, content), source.section("", content, "log")
    xs = [int(x) for x in source.numbers("log.step", log.get("step"))]
    keys = ("validation_bits_per_character", "train_bits_per_character")
    curves = {key: source.curve("log.", log, key, xs) for key in keys}
    start = number(log.get("validation_bits_at_start"))
    if start == start:
        curves[keys[0]].insert(0, (0, start))
    times = median(source.numbers("log.ms_per_step", log.get("ms_per_step")))
    method = content["method"] + (" (blocks frozen)" if config.get("frozen_blocks") else "")
    done = xs[-1] if xs else 0
    yield Run(source.name, program, method, content.get("seed"), config, x="step", curves=curves,
              states=states(source, "", content), cost={} if times is None else {"training step": times},
              epochs=(done, config.get("steps", done)), finished=content.get("finished") is True)


@reader("schedule_timing", lambda c: isinstance(c.get("config"), dict) and "schedules" in c["config"])
def schedule_timing(source, program, content):
    config = config_of(source, content)
    judgement = [words for words in content.get("judgement", []) if isinstance(words, str)]
    for name, entry in content.items():
        if name in ("judgement", "config", "environment") or not isinstance(entry, dict):
            continue
        where = f"{name}: "
        curves = {key: source.curve(where, entry, key) for key in ("test_acc", "train_loss")}
        past = history(entry.get("diagnostics", []))
        done = len(curves["test_acc"])
        yield Run(source.name, program, name, config.get("seed"), config, curves=curves, history=past,
                  states={what: values[-1][1] for what, values in past.items()}, cost=costs(entry),
                  epochs=(done, config.get("epochs", done)), finished=entry.get("finished") is True, words=judgement)
        judgement = []


@reader("snapshot_time_sweep", lambda c: isinstance(c.get("results"), list))
def snapshot_time_sweep(source, program, content):
    config = config_of(source, content, "config" if "config" in content else "settings")
    judgement = [words for words in content.get("judgement", []) if isinstance(words, str)]
    by_method = {}
    for entry in content["results"]:
        if isinstance(entry, dict) and "method" in entry and isinstance(entry.get("snapshot_epoch"), int):
            by_method.setdefault(entry["method"], []).append(entry)
    for method, entries in by_method.items():
        curves, past, last = {"snapshot_acc": [], "dl_held": []}, {}, {}
        for entry in entries:
            x, where = entry["snapshot_epoch"], f"{method}, snapshot {entry['snapshot_epoch']}: "
            curves["snapshot_acc"].append((x, number(entry.get("snapshot_acc"))))
            trials = entry.get("update_utility") or entry.get("last_block") or {}
            held = trials.get("dl_held") if isinstance(trials, dict) else None
            if isinstance(held, dict):
                curves["dl_held"].append((x, number(held.get("value", held.get("mean")))))
            credit = entry["credit"] if isinstance(entry.get("credit"), dict) else entry
            last = {key: source.numbers(f"{where}{key}", credit[key]) for key in ("gamma", "rho") if key in credit}
            for key, values in last.items():
                past.setdefault(key, []).append((x, values))
        yield Run(source.name, program, method, config.get("seed"), config, curves=curves, history=past, states=last,
                  words=judgement)
        judgement = []


@reader("toy_lq", lambda c: isinstance(c.get("results"), dict) and "costate_distance_to_autograd" in c)
def toy_lq(source, program, content):
    config = config_of(source, content)
    for method, entry in content["results"].items():
        points = [(int(x), number(y)) for x, y in entry.get("curve", [])]
        if not points or points[-1][0] < entry.get("steps", 0):
            points.append((entry.get("steps", 0), number(entry.get("costate_cosine"))))
        found = {"costate_cosine": entry.get("costate_cosine_per_layer"), "rho": entry.get("rho_per_layer")}
        yield Run(source.name, program, method, config.get("seed"), config, x="step", curves={"costate_cosine": points},
                  states={key: source.numbers(f"{method}: {key}", values) for key, values in found.items()})


def check_of(check):
    """A check with words and numbers where they have to be."""
    return {"name": str(check.get("name")), "meaning": str(check.get("meaning", "")), "fires": str(check.get("fires", "?")),
            "value": number(check.get("value")), "threshold": number(check.get("threshold")), "fired": check.get("fired") is True}


@reader("audit", lambda c: "verdict" in c and isinstance(c.get("runs"), list))
def audit(source, program, content):
    config, given = config_of(source, content), source.section("", content, "verdict")
    depth = content["depth_utility"] if isinstance(content.get("depth_utility"), dict) else {}
    verdict = {"passed": given.get("passed"), "fired": source.listed("verdict.fired", given.get("fired"), str),
               "not_measured": source.listed("verdict.not_measured", given.get("not_measured"), str)}
    for entry in source.listed("runs", content["runs"]):
        where = f"seed {entry.get('seed')}: "
        epochs = [e for e in source.listed(f"{where}epochs", entry.get("epochs")) if isinstance(e.get("epoch"), int)]
        checks = [check_of(check) for check in source.listed(f"{where}checks", entry.get("checks"))]
        first = {name: epoch for name, epoch in source.section(where, entry, "first_fired").items() if isinstance(epoch, int)}
        values = {check["name"]: [(e["epoch"], number(e["values"].get(check["name"]))) for e in epochs
                                  if isinstance(e.get("values"), dict)] for check in checks}
        last = epochs[-1]["epoch"] if epochs else config.get("epochs", 1)
        yield Run(source.name, program, config.get("method", "?"), entry.get("seed"), config,
                  curves={"test_acc": [(last, number(entry.get("test_acc")))]},
                  audit={"checks": checks, "values": values, "first_fired": first, "verdict": verdict,
                         "depth": [check_of(check) for check in depth.values() if isinstance(check, dict) and "name" in check]})
    controls = content["controls"] if isinstance(content.get("controls"), dict) else {}
    for name, entries in {**controls, "random labels": content.get("random_labels")}.items():
        for entry in source.listed(name, entries):
            yield Run(source.name, program, f"{name} (control)", entry.get("seed"), config,
                      curves={"test_acc": [(config.get("epochs", 1), number(entry.get("test_acc")))]},
                      states=states(source, f"{name}: ", entry))


@reader("credit_cost", lambda c: "machine" in c and isinstance(c.get("networks"), dict))
def credit_cost(source, program, content):
    for network, entry in content["networks"].items():
        steps = entry.get("steps")
        if not isinstance(steps, dict):
            raise Unreadable("holds counts of products, which the pages of docs/performance show; it is not drawn.")
        forward = number(steps.get("forward", {}).get("median_ms"))
        adamw = number(steps.get("floor adamw", {}).get("median_ms"))
        for name, step in steps.items():
            if name.startswith(("floor", "forward")):
                continue
            total = number(step.get("median_ms"))
            parts = {"forward pass": forward, "optimizer (AdamW)": adamw}
            parts = {part: ms for part, ms in parts.items() if ms == ms}
            rest = total - sum(parts.values())
            cost = {**parts, "credit and gradients": rest} if parts and rest > 0 else {"training step": total}
            held, peak = number(step.get("activations")), number(step.get("peak"))
            memory = {"activations, credit, temporaries": held, "the rest, most of it parameters": peak - held}
            yield Run(source.name, program, name, None, {}, panel=network, cost=cost, memory=memory if peak > held else {})


@reader("benchmark", lambda c: "machine" in c)
def benchmark(source, program, content):
    raise Unreadable("is of a benchmark whose tables are on the pages of docs/performance; it is not drawn.")
