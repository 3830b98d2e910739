# SPDX-License-Identifier: Apache-2.0
"""How pictures look: two themes, the palette of Okabe and Ito, labels beside lines instead of a legend."""

import textwrap
from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

# Okabe and Ito's palette, told apart with any color vision. Their yellow is left out: it does not show on white.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", None]  # None: the theme's ink
DASHES = ["solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2))]
MOST_LINES = len(PALETTE) * len(DASHES)
WIDTH = 7.6  # inches; the page shows 96 pixels of an inch


@dataclass(frozen=True)
class Theme:
    name: str
    paper: str
    ink: str
    faint: str  # grid lines
    soft: str  # ticks, captions
    warn: str  # thresholds
    diverging: str  # from -1 to 1; the middle is the paper


LIGHT = Theme("light", "#ffffff", "#1f2328", "#d9dee3", "#59636e", "#1f2328", "RdBu_r")
DARK = Theme("dark", "#0d1117", "#f0f6fc", "#2b323b", "#a5adb7", "#f0f6fc", "berlin")
THEMES = (LIGHT, DARK)


def settings(theme):
    """For pyplot.rc_context."""
    return {
        "figure.facecolor": theme.paper, "savefig.facecolor": theme.paper, "axes.facecolor": theme.paper,
        "text.color": theme.ink, "axes.labelcolor": theme.ink, "axes.titlecolor": theme.ink, "axes.edgecolor": theme.soft,
        "xtick.color": theme.soft, "ytick.color": theme.soft, "xtick.labelcolor": theme.ink, "ytick.labelcolor": theme.ink,
        "grid.color": theme.faint, "grid.linewidth": 0.8, "axes.grid": True, "axes.axisbelow": True,
        "axes.spines.top": False, "axes.spines.right": False, "font.size": 10, "axes.titlesize": 11,
        "axes.titlelocation": "left", "axes.titleweight": "bold", "font.family": "DejaVu Sans", "lines.linewidth": 1.8,
        "svg.fonttype": "path", "svg.hashsalt": "creditlib", "figure.dpi": 96, "hatch.linewidth": 0.5, "axes.formatter.useoffset": False,
    }


def line_style(index, theme):
    color = PALETTE[index % len(PALETTE)] or theme.ink
    return {"color": color, "linestyle": DASHES[index // len(PALETTE) % len(DASHES)]}


def wrapped(label, width=26):
    """In lines of about `width` letters, broken between settings ("dfa, clip 1, epochs 30") and within those that are longer."""
    lines, room = [], 0
    for piece in label.split(", "):
        if lines and len(piece) + 2 <= room:
            lines[-1] += f", {piece}"
        else:
            if lines:
                lines[-1] += ","
            lines += textwrap.wrap(piece, width) or [piece]
        room = width - len(lines[-1])
    return "\n".join(lines)


def figure(height, columns=1, rows=1, width=WIDTH, **options):
    """A figure of `height` inches."""
    made, axes = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)
    return made, axes


def height_for(labels, least=3.7):
    """Inches that labels beside lines need below each other."""
    return max(least, 0.95 + sum(0.17 * (1.15 + wrapped(label).count("\n")) for label in labels))


MOST_BANDS = len(PALETTE)  # with more lines than this, bands would hide them, and colors come again with other dashes
MOST_CONNECTED = 10  # with more lines than this, connectors would hide them


def label_lines(axes, lines, theme):
    """Writes labels right of the axes, in the order of the lines' ends, each near its line's end if there are few.

    lines: (label, (x, y) of the end in the axes' data, style)
    """
    axes.set_xlim(axes.get_xlim())  # what is drawn outside must not change them
    axes.set_ylim(axes.get_ylim())
    box = axes.get_window_extent(axes.figure.canvas.get_renderer())
    per_line = 0.17 * axes.figure.dpi / box.height  # of the axes' height
    to_axes = axes.transData + axes.transAxes.inverted()
    wanted = []

    def at(inches):
        """Right of the axes, in their coordinates."""
        return 1 + inches * axes.figure.dpi / box.width

    for label, end, style in lines:
        text = wrapped(label)
        x, y = to_axes.transform(end) if end[1] == end[1] else (1, 0)
        wanted.append((min(max(y, 0), 1), per_line * (1.15 + text.count("\n")), text, style, x))
    wanted.sort(key=lambda entry: entry[0])
    for position, (y, _, text, style, x) in zip(spread(wanted), wanted):
        mark = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 2.2}
        if len(lines) <= MOST_CONNECTED:
            axes.plot([x, 1], [y, y], transform=axes.transAxes, color=style["color"], linewidth=0.7, alpha=0.7)
            axes.plot([1, at(0.08)], [y, position], transform=axes.transAxes, color=theme.soft, linewidth=0.7, clip_on=False)
        axes.plot([at(0.08), at(0.08 + swatch(lines))], [position, position], transform=axes.transAxes, clip_on=False, **mark)
        axes.text(at(0.15 + swatch(lines)), position, text, transform=axes.transAxes, va="center", fontsize=9.5, linespacing=1.1)


def swatch(lines):
    """Inches of the line in front of a label: two of its dashes, where lines are told apart by those."""
    return 0.2 if len(lines) <= MOST_BANDS else 0.45


def spread(wanted):
    """Places within 0..1, as near as may be to the wanted ones and in their order, so that none overlaps: (wanted, height, ...)."""

    def inside(middle, height):
        return min(max(middle, height / 2), max(1 - height / 2, height / 2))

    clusters = []  # [middle, members, height]
    for at, height, *_ in wanted:
        clusters.append([inside(at, height), 1, height])
        while len(clusters) > 1:
            (a, n, tall), (b, m, taller) = clusters[-2:]
            if a + tall / 2 <= b - taller / 2 + 1e-9:
                break
            clusters[-2:] = [[inside((a * n + b * m) / (n + m), tall + taller), n + m, tall + taller]]
    places, index = [], 0
    for middle, members, height in clusters:
        bottom = middle - height / 2
        for _, own, *_ in wanted[index:index + members]:
            places.append(bottom + own / 2)
            bottom += own
        index += members
    return places


def right_margin(labels, width=WIDTH):
    """The part of the figure's width that the axes may fill, with labels at its right."""
    longest = max((len(line) for label in labels for line in wrapped(label).split("\n")), default=0)
    return 1 - (longest * 0.079 + 0.25 + swatch(labels)) / width
