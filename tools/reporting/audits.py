# SPDX-License-Identifier: Apache-2.0
"""The audit: its checks over epochs with their thresholds, and the verdict in words."""

import math
import re

from matplotlib.ticker import MaxNLocator

from reporting.style import figure, line_style, wrapped


def audited(groups):
    return [(i, group, [run for run in group.runs if run.audit]) for i, group in enumerate(groups)
            if any(run.audit for run in group.runs)]


def checks_over_epochs(theme, groups):
    """A panel per check that was taken after every epoch; a line per run."""
    found = {}
    for index, group, runs in audited(groups):
        for run in runs:
            for check in run.audit["checks"]:
                points = run.audit["values"][check["name"]]
                if sum(y == y for _, y in points) > 1:
                    found.setdefault(check["name"], (check, []))[1].append((index, group.label, run, points))
    if not found:
        return None
    rows = -(-len(found) // 2)
    height = 0.5 + 2.45 * rows
    drawn, axes = figure(height, 2, rows)
    for place, (name, (check, lines)) in enumerate(found.items()):
        panel = axes[place // 2][place % 2]
        ys = [y for *_, points in lines for _, y in points if y == y]
        limit = check["threshold"]
        if min([*ys, limit]) > 0 and max([*ys, limit]) > 20 * min([*ys, limit]):
            panel.set_yscale("log")
        for index, _, _, points in lines:
            panel.plot(*zip(*points), marker="o", markersize=3, **line_style(index, theme))
        if limit == limit:
            panel.axhline(limit, color=theme.warn, linestyle=(0, (2, 2)), linewidth=1.1)
            panel.annotate(f"fires {check['fires']} {limit:g}", (0.99, limit), xycoords=panel.get_yaxis_transform(),
                           xytext=(0, 2), textcoords="offset points", ha="right", va="bottom", fontsize=8.5, style="italic")
        panel.set_title(f"{name}", fontsize=10)
        panel.set_ylabel(with_subscripts(wrapped(check["meaning"], 30)), fontsize=8)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.margins(y=0.15)
    for place in range(len(found), 2 * rows):
        axes[place // 2][place % 2].set_visible(False)
    labels = {label: line_style(index, theme) for _, lines in found.values() for index, label, *_ in lines}
    if len(labels) > 1:
        handles = [axes[0][0].plot([], [], **style)[0] for style in labels.values()]
        drawn.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    drawn.subplots_adjust(left=0.125, right=0.985, top=1 - 0.35 / height, bottom=(0.85 if len(labels) > 1 else 0.5) / height,
                          hspace=0.62, wspace=0.36)
    return drawn


def with_subscripts(text):
    """h_l and h_{l+1} as they are written in print."""
    return re.sub(r"(?<=[a-z])_(\{[^}]*\}|\w)", lambda found: f"$_{{{found[1].strip('{}')}}}$", text)


MEANINGS = {
    "D1": "a hidden state is {value} times as large as the one before it (limit {threshold}): the hidden states explode from block to block",
    "D1 since init": "a hidden state has grown {value} times since the start (limit {threshold}): training makes the hidden states explode",
    "D2": "the reference gradient is {value}, below {threshold}: figures of alignment that use it mean nothing",
    "D2 without scale": "gradient times hidden state is {value}, below {threshold}: the reference gradient has vanished, whatever its scale",
    "D2 in float64": "float32 and float64 gradients agree only to a cosine of {value} (limit {threshold}): the reference gradient is rounding noise",
    "stability": "gradients of different batches have a mean cosine of {value} (limit {threshold}): they are nearly the same whatever the batch",
    "D3": "the rule is {points} frozen blocks, and has to be {threshold} above: training the blocks with it is worth nothing",
    "D3 against the best": "the rule is {points} the best baseline, and has to be {threshold} above: training the blocks with it is worth nothing",
}


def shown(value):
    if not math.isfinite(value):
        return "undefined"
    return f"{value:.3g}" if abs(value) < 1000 else f"{float(f'{value:.3g}'):,.0f}"


def points(value):
    return f"{shown(abs(value))} points {'below' if value < 0 else 'above'}"


def verdicts(groups):
    """[(label, passed or None, sentences)] of the audited groups."""
    found = []
    for _, group, runs in audited(groups):
        verdict, sentences = runs[0].audit["verdict"], []
        for name in verdict["fired"]:
            checks = [check for run in runs for check in run.audit["checks"] if check["name"] == name and check["fired"]]
            checks += [check for check in runs[0].audit["depth"] if check["name"] == name]
            first = [run.audit["first_fired"][name] for run in runs if name in run.audit["first_fired"]]
            when = f"; first in epoch {min(first)}" if first else ""
            if not checks:
                sentences.append(f"{name} fired{when}.")
                continue
            value, limit = checks[0]["value"], checks[0]["threshold"]
            words = MEANINGS.get(name, checks[0]["meaning"].replace("{", "{{").replace("}", "}}") + ": {value}, limit {threshold}")
            sentences.append(f"{name}: {words.format(value=shown(value), points=points(value), threshold=shown(limit))}{when}.")
        missing, passed = verdict["not_measured"], verdict["passed"]
        if missing:
            sentences.append(f"Not measured: {', '.join(missing)}.")
        if passed is True and not sentences:
            sentences.append("No check fired: the rule's accuracy and alignment can be taken at face value.")
        found.append((group.label, passed, sentences))
    return found
