# SPDX-License-Identifier: Apache-2.0
"""The outcome over a setting that varies: accuracy by depth, by width, by the penalty."""

import math

from reporting.curves import ACCURACIES, PERCENT
from reporting.runs import MEASURES, OUTCOMES, UNSAID, mean_and_deviation, shown
from reporting.style import MOST_BANDS, MOST_LINES, WIDTH, figure, height_for, label_lines, line_style, right_margin


def varied(runs):
    """The setting that is a number and has the most values among runs of one method, three at least; None if there is none."""
    values = {}
    for run in runs:
        for key, value in run.settings.items():
            if key not in UNSAID and isinstance(value, (int, float)) and not isinstance(value, bool):
                values.setdefault(key, {}).setdefault((run.program, run.method), set()).add(value)
    most = {key: max(map(len, by_method.values())) for key, by_method in values.items()}
    key = max(most, key=most.get, default=None)
    return key if key and most[key] >= 3 else None


def lines_over(groups, key, measure):
    """{label without the setting: {value: [outcome of a run]}}"""
    lines = {}
    for group in groups:
        for run in group.runs:
            outcome = run.outcome()
            if outcome and outcome[0] == measure and isinstance(run.settings.get(key), (int, float)):
                label = ", ".join(part for part in group.label.split(", ") if part != f"{key} {shown(run.settings[key])}")
                lines.setdefault(label, {}).setdefault(run.settings[key], []).append(outcome[1])
    return lines


def draw(theme, groups):
    runs = [run for group in groups for run in group.runs]
    key = varied(runs)
    measure = next((m for m in OUTCOMES if any(run.outcome() and run.outcome()[0] == m for run in runs)), None)
    if key is None or measure is None:
        return None
    lines = {label: points for label, points in lines_over(groups, key, measure).items() if len(points) > 1}
    if not lines or max(map(len, lines.values())) < 3:
        return None
    drawn, axes = figure(height_for(list(lines)))
    axes = axes[0][0]
    ends, places = [], sorted({value for points in lines.values() for value in points})
    at = {value: place for place, value in enumerate(places)}  # evenly, however far apart the values are
    for index, (label, points) in enumerate(list(lines.items())[:MOST_LINES]):
        style, points = line_style(index, theme), sorted(points.items())
        means = [(at[value], *mean_and_deviation(outcomes)) for value, outcomes in points]
        axes.plot([x for x, *_ in means], [mean for _, mean, _ in means], marker="o", markersize=4.5, **style)
        low, high = ([mean + sign * deviation if deviation is not None else math.nan for _, mean, deviation in means] for sign in (-1, 1))
        if len(lines) <= MOST_BANDS:
            axes.fill_between([x for x, *_ in means], low, high, color=style["color"], alpha=0.22, linewidth=0)
        finite = [(x, mean) for x, mean, _ in means if mean == mean]
        ends.append((label, finite[-1] if finite else (math.nan, math.nan), style))
    axes.set_xticks(range(len(places)), [shown(value) for value in places])
    axes.set_xlabel(key)
    name = MEASURES[measure][0]
    axes.set_title(f"{name[0].upper()}{name[1:]} over {key}")
    if measure in ACCURACIES:
        axes.yaxis.set_major_formatter(PERCENT)
        low, high = axes.get_ylim()
        if min((mean for _, (_, mean), _ in ends if mean == mean), default=0) < 0.35 or high - low < 0.05:
            axes.set_ylim(0, 1.08 * high)
    drawn.subplots_adjust(left=0.72 / WIDTH, right=right_margin(list(lines)), top=1 - 0.34 / drawn.get_figheight(),
                          bottom=0.55 / drawn.get_figheight())
    label_lines(axes, ends, theme)
    return drawn
