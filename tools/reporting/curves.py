# SPDX-License-Identifier: Apache-2.0
"""Curves over epochs or steps, with a band over seeds."""

import math

from matplotlib.ticker import FuncFormatter, MaxNLocator

from reporting.runs import MEASURES
from reporting.style import MOST_BANDS, MOST_LINES, WIDTH, figure, height_for, label_lines, line_style, right_margin

# As many digits as a tick needs: 97.5 %, not 98.
PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.4g}%")
ACCURACIES = {"test_acc", "train_acc", "snapshot_acc"}


def with_curve(groups, measure):
    return [(i, group) for i, group in enumerate(groups) if any(len(run.curves.get(measure, [])) for run in group.runs)]


def draw(theme, groups, measure, title=None, width=WIDTH):
    """None if no group has this measure at two places at least."""
    chosen = with_curve(groups, measure)
    if not any(len(group.curve(measure)) > 1 for _, group in chosen):
        return None
    chosen = chosen[:MOST_LINES]
    labels = [group.label for _, group in chosen]
    drawn, axes = figure(height_for(labels, least=2.9 if width < WIDTH else 3.7), width=width)
    axes = axes[0][0]
    lines, values = [], []
    for index, group in chosen:
        style, curve = line_style(index, theme), group.curve(measure)
        xs, means = [x for x, *_ in curve], [mean for _, mean, _ in curve]
        if len(curve) == 1:  # a baseline, or a rule that does not learn
            axes.axhline(means[0], linewidth=1.2, **style)
        axes.plot(xs, means, marker="o" if 1 < len(curve) <= 12 else None, markersize=4, **style)
        low = [mean - (deviation or 0) if deviation is not None else math.nan for _, mean, deviation in curve]
        high = [mean + (deviation or 0) if deviation is not None else math.nan for _, mean, deviation in curve]
        if len(chosen) <= MOST_BANDS and any(value == value for value in low):
            axes.fill_between(xs, low, high, color=style["color"], alpha=0.22, linewidth=0)
        finite = [(x, mean) for x, mean in zip(xs, means) if mean == mean]
        values += [mean for _, mean in finite]
        lines.append((group.label, finite[-1] if finite else (math.nan, math.nan), style))
    dress(axes, groups, measure, title, values)
    drawn.subplots_adjust(left=0.72 / width, right=right_margin(labels, width), top=1 - 0.34 / drawn.get_figheight(), bottom=0.55 / drawn.get_figheight())
    label_lines(axes, lines, theme)
    return drawn


def dress(axes, groups, measure, title, values):
    name = MEASURES[measure][0]
    axes.set_title(title or name[0].upper() + name[1:])
    axes.set_xlabel(next(run.x for group in groups for run in group.runs if run.curves.get(measure)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.01)
    if measure in ACCURACIES:
        axes.yaxis.set_major_formatter(PERCENT)
        low, high = axes.get_ylim()
        axes.set_ylim(*((max(0, low), high) if min(values, default=0) > 0.35 else (0, high + 0.05 * high)))
    elif values and min(values) > 0 and max(values) > 30 * min(values):
        axes.set_yscale("log")
