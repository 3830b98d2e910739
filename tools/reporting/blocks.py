# SPDX-License-Identifier: Apache-2.0
"""Figures by hidden state or block: norms on log axes with the audit's thresholds, heat maps of Gamma."""

import math

from matplotlib import colormaps, patheffects
from matplotlib.ticker import MaxNLocator

from reporting.style import MOST_BANDS, MOST_LINES, WIDTH, figure, height_for, label_lines, line_style, right_margin, wrapped

GROWTH = 50  # D1 fires above this growth from a hidden state to the next; since init, above this growth of a state
REFERENCE = 1e-7  # D2 fires if the reference gradient at the last hidden state has a norm below this


def norms(theme, groups, what, title=None, width=WIDTH):
    """Norms of the hidden states or gradients at the end of training, by hidden state."""
    chosen = [(i, group) for i, group in enumerate(groups) if any(m > 0 for m, _ in group.states_of(what))][:MOST_LINES]
    if not chosen:
        return None
    labels = [group.label for _, group in chosen]
    drawn, axes = figure(height_for(labels, least=2.9 if width < WIDTH else 4.0), width=width)
    axes = axes[0][0]
    axes.set_yscale("log")
    lines, points, fired = [], [], []
    for index, group in chosen:
        style, states = line_style(index, theme), group.states_of(what)
        means = [mean if mean > 0 else math.nan for mean, _ in states]
        axes.plot(range(len(means)), means, marker="o", markersize=4.5, **style)
        if len(chosen) <= MOST_BANDS and any(deviation for _, deviation in states):
            low = [max(m - d, m / 30) if d is not None else math.nan for m, (_, d) in zip(means, states)]
            high = [m + d if d is not None else math.nan for m, (_, d) in zip(means, states)]
            axes.fill_between(range(len(means)), low, high, color=style["color"], alpha=0.22, linewidth=0)
        points += [(l, mean) for l, mean in enumerate(means) if mean == mean]
        if what == "hidden_norms":
            fired += [(l + 1, b) for l, (a, b) in enumerate(zip(means, means[1:])) if b > GROWTH * a]
        elif means[-1] < REFERENCE:
            fired.append((len(means) - 1, means[-1]))
        lines.append((group.label, [(l, mean) for l, mean in enumerate(means) if mean == mean][-1], style))
    states = max(len(group.states_of(what)) for _, group in chosen)
    axes.set_xticks(range(states), [f"h$_{{{l}}}$" for l in range(states)])
    axes.set_xlim(-0.15, states - 1 + 0.15)
    thresholds(axes, theme, what, points, fired)
    axes.set_title(title or {"hidden_norms": "Norms of the hidden states, end of training",
                             "gradient_norms": "Norms of the true gradient, end of training"}[what])
    axes.set_ylabel({"hidden_norms": "median |h|", "gradient_norms": "median |dloss/dh|, mean over a batch"}[what])
    drawn.subplots_adjust(left=0.87 / width, right=right_margin(labels, width), top=1 - 0.34 / drawn.get_figheight(), bottom=0.55 / drawn.get_figheight())
    label_lines(axes, lines, theme)
    return drawn


def note_of(theme):
    """Of text on the axes: under the lines, and with a rim by which it is read on the grid."""
    return {"color": theme.ink, "fontsize": 8.5, "style": "italic", "zorder": 1.9,
            "path_effects": [patheffects.withStroke(linewidth=2.5, foreground=theme.paper)]}


def thresholds(axes, theme, what, points, fired):
    """The audit's threshold, and rings around the points at which its check fires."""
    low, high = min(y for _, y in points), max(y for _, y in points)
    note = note_of(theme)
    line = {"color": theme.warn, "linestyle": (0, (2, 2)), "linewidth": 1.1}
    if what == "gradient_norms":
        axes.set_ylim(min(low, REFERENCE) / 4, high * 3)
        axes.axhline(REFERENCE, **line)
        axes.text(0.01, REFERENCE * 1.15, "D2 fires if the last point is below 1e-7", transform=axes.get_yaxis_transform(),
                      va="bottom", **note)
    else:
        start = max((y for l, y in points if l == 0), default=high)
        axes.set_ylim(low / 3, max(6 * high, 3 * start * GROWTH))
        axes.plot([0, 1], [start, start * GROWTH], **line)
        axes.annotate("50 times in one block:\nD1 fires if a line is steeper", (1, start * GROWTH), xytext=(7, 0),
                      textcoords="offset points", va="center", ha="left", **note)
    if fired:
        axes.plot(*zip(*fired), linestyle="none", marker="o", markersize=11, markerfacecolor="none",
                  markeredgecolor=theme.warn, markeredgewidth=1.3, clip_on=False)


def norms_over_time(theme, groups, what):
    """The last hidden state's norm (with 50 times its start, where D1 since init fires) or gradient (with D2's) over epochs."""
    chosen = [(i, group) for i, group in enumerate(groups) if len(group.history_of(what)) > 1][:MOST_LINES]
    if not chosen:
        return None
    labels = [group.label for _, group in chosen]
    drawn, axes = figure(height_for(labels))
    axes = axes[0][0]
    axes.set_yscale("log")
    lines, limits = [], {}
    for index, group in chosen:
        style, past = line_style(index, theme), group.history_of(what)
        ys = [values[-1] if values[-1] > 0 else math.nan for _, values in past]
        axes.plot([x for x, _ in past], ys, marker="o" if len(ys) <= 12 else None, markersize=4, **style)
        finite = [(x, y) for (x, _), y in zip(past, ys) if y == y]
        if finite:
            lines.append((group.label, finite[-1], style))
        if what == "hidden_norms" and past[0][0] == 0 and ys[0] == ys[0]:
            limits.setdefault(GROWTH * ys[0], []).append(style["color"])
    line = {"linestyle": (0, (2, 2)), "linewidth": 1.1}
    note = {"va": "bottom", "transform": axes.get_yaxis_transform(), **note_of(theme)}
    if what == "gradient_norms":
        axes.axhline(REFERENCE, color=theme.warn, **line)
        axes.text(0.01, REFERENCE * 1.1, "D2 fires below 1e-7", **note)
    elif limits:
        for limit in limits:
            axes.axhline(limit, color=theme.warn, **line)
        axes.set_ylim(top=max(axes.get_ylim()[1], 4 * max(limits)))
        axes.text(0.01, max(limits) * 1.1, "D1 since init fires above 50 times the start", **note)
    last = {"hidden_norms": "Norm of the last hidden state", "gradient_norms": "Norm of the true gradient at the last hidden state"}
    axes.set_title(last[what])
    axes.set_xlabel(chosen[0][1].runs[0].x)
    axes.set_ylabel({"hidden_norms": "median |h$_L$|", "gradient_norms": "median |dloss/dh$_L$|"}[what])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.01)
    drawn.subplots_adjust(left=0.115, right=right_margin(labels), top=1 - 0.34 / drawn.get_figheight(), bottom=0.55 / drawn.get_figheight())
    label_lines(axes, lines, theme)
    return drawn


def colors(theme):
    made = colormaps[theme.diverging].copy()
    made.set_bad(theme.faint)
    return made


def heat(theme, groups, what="gamma", title="Gamma by block, end of training"):
    """A row per group, a column per block, the value in each cell."""
    rows = [(group.label, [mean for mean, _ in group.states_of(what)]) for group in groups if group.states_of(what)]
    if not rows:
        return None
    blocks = max(len(values) for _, values in rows)
    labels = [wrapped(label, 30) for label, _ in rows]
    tall = [0.24 + 0.15 * label.count("\n") for label in labels]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    row = max(0.3, max(tall))
    drawn, axes = figure(1.45 + row * len(rows))
    axes = axes[0][0]
    cells = [values + [math.nan] * (blocks - len(values)) for _, values in rows]
    limit = limit_of(value for values in cells for value in values)
    shown = axes.pcolormesh(cells, cmap=colors(theme), vmin=-limit, vmax=limit, edgecolors=theme.paper, linewidth=1)
    size = 9 if blocks <= 8 else 7.5
    for y, values in enumerate(cells):
        for x, value in enumerate(values):
            if value == value:
                axes.text(x + 0.5, y + 0.5, f"{value:.2f}".replace("-0.00", "0.00"), ha="center", va="center", fontsize=size,
                          color=ink_on(shown.cmap(shown.norm(value))))
    axes.set_xticks([x + 0.5 for x in range(blocks)], range(blocks))
    axes.set_yticks([y + 0.5 for y in range(len(rows))], labels)
    axes.invert_yaxis()
    axes.set_xlabel("block")
    axes.set_title(title)
    bare(axes)
    drawn.subplots_adjust(left=(longest * 0.079 + 0.2) / WIDTH, right=0.98, top=1 - 0.4 / drawn.get_figheight(),
                          bottom=0.98 / drawn.get_figheight())
    scale(drawn, theme, shown)
    return drawn


def ink_on(color):
    """Black or white, whichever is read better on a color: by WCAG's relative luminance."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    return "#000000" if sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear)) > 0.179 else "#ffffff"


def bare(axes):
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.6)


def limit_of(values):
    """The end of the scale of colors: 1, or less if all values are much smaller."""
    most = max((abs(value) for value in values if value == value), default=1)
    return next((limit for limit in (0.1, 0.25, 0.5) if most <= limit), 1)


def scale(drawn, theme, shown):
    box = drawn.add_axes((0.3, 0.36 / drawn.get_figheight(), 0.4, 0.12 / drawn.get_figheight()))
    bar = drawn.colorbar(shown, cax=box, orientation="horizontal", ticks=[shown.norm.vmax * part for part in (-1, -0.5, 0, 0.5, 1)])
    bar.outline.set_visible(False)
    box.grid(False)
    box.tick_params(labelsize=8.5, length=0)


def heat_over_time(theme, groups, what="gamma"):
    """A panel per group: blocks from below, epochs from the left."""
    chosen = [group for group in groups if len(group.history_of(what)) > 1][:12]
    if not chosen:
        return None
    columns = 1 if len(chosen) == 1 else 2
    rows = -(-len(chosen) // columns)
    blocks = max(len(values) for group in chosen for _, values in group.history_of(what))
    height = 0.75 + rows * (0.85 + max(0.9, 0.17 * blocks))
    drawn, axes = figure(height, columns, rows)
    shown, limit = None, limit_of(value for group in chosen for _, values in group.history_of(what) for value in values)
    for place, group in enumerate(chosen):
        panel, past = axes[place // columns][place % columns], group.history_of(what)
        xs = [x for x, _ in past]
        if len(xs) > 12:
            middles = [(a + b) / 2 for a, b in zip(xs, xs[1:])]
            edges = [2 * xs[0] - middles[0], *middles, 2 * xs[-1] - middles[-1]]
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        else:  # a column each, however far apart they are
            edges = range(len(xs) + 1)
            panel.set_xticks([column + 0.5 for column in range(len(xs))], xs)
        cells = [[values[l] for _, values in past] for l in range(len(past[0][1]))]
        shown = panel.pcolormesh(edges, range(len(cells) + 1), cells, cmap=colors(theme), vmin=-limit, vmax=limit)
        step = max(1, -(-len(cells) // 8))
        panel.set_yticks([l + 0.5 for l in range(0, len(cells), step)], range(0, len(cells), step))
        panel.set_title(group.label if len(group.label) < 42 else group.label[:40] + "...", fontsize=9.5)
        panel.set_xlabel(group.runs[0].x)
        panel.set_ylabel("block")
        bare(panel)
    for place in range(len(chosen), rows * columns):
        axes[place // columns][place % columns].set_visible(False)
    drawn.suptitle("Gamma by block over time", x=0.01, ha="left", fontsize=11, fontweight="bold", y=1 - 0.1 / height, va="top")
    drawn.subplots_adjust(left=0.075, right=0.985, top=1 - 0.62 / height, bottom=1.0 / height, hspace=0.85, wspace=0.2)
    scale(drawn, theme, shown)
    return drawn

